/* Without libFuzzer: runs the target once with every file of the folders given. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/limits.h"
#include "common/base/mem.h"
#include "tests/fuzz/fuzz.h"

static int replay(const char *path)
{
    struct buf text = BUF_INIT(MIB);
    int rc = file_read(path, &text);

    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(-rc));
        return 1;
    }
    /* Exactly its size: what is read beyond shows. */
    uint8_t *copy = xmalloc(text.len);
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    printf("%s\n", path);
    fflush(stdout);
    (void)LLVMFuzzerTestOneInput(copy, text.len);
    free(copy);
    buf_free(&text);
    return 0;
}

int main(int argc, char **argv)
{
    int failed = 0, files = 0;

    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        const struct dirent *entry;
        while (folder && (entry = readdir(folder))) {
            char path[4096];
            if (entry->d_name[0] == '.')
                continue;
            snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            failed += replay(path);
            files++;
        }
        if (folder)
            closedir(folder);
    }
    return failed || !files;
}
