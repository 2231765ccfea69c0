#include <criterion/criterion.h>
Test(upload_letters, x)
{
}
