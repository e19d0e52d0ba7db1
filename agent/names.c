#include "names.h"

#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

bool name_is_safe(const char *name)
{
    size_t size = strlen(name);
    if (size == 0 || size >= MAX_PATH)
        return false;
    if (strcmp(name, ".") == 0)
        return true;
    const char *part = name;
    for (;;) {
        const char *end = strchrnul(part, '/');
        size_t length = (size_t)(end - part);
        if (length == 0 || length > 255 || (length == 1 && part[0] == '.') ||
            (length == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        if (*end == 0)
            return true;
        part = end + 1;
    }
}

void base_name(const char *path, char *out, size_t size)
{
    size_t end = strlen(path);
    while (end > 0 && path[end - 1] == '/')
        end--;
    size_t begin = end;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    size_t length = end - begin;
    bool dots = (length == 1 && path[begin] == '.') || (length == 2 && memcmp(path + begin, "..", 2) == 0);
    if (length == 0 || length >= size || dots) {
        memcpy(out, ".", 2);
        return;
    }
    memcpy(out, path + begin, length);
    out[length] = 0;
}

int open_beneath(int directory, const char *name, int flags, mode_t mode)
{
    struct open_how how = {
        .flags = (uint64_t)(unsigned)flags,
        .mode = mode,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    };
    return (int)syscall(SYS_openat2, directory, name, &how, sizeof how);
}
