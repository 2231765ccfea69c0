#include <criterion/criterion.h>
Test(upload_otlp, x)
{
}
