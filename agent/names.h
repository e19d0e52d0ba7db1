/* Names of archive members, and files opened beneath a directory. */
#ifndef YURT_NAMES_H
#define YURT_NAMES_H

#include <stdbool.h>
#include <sys/types.h>

#define MAX_PATH 4096

/* Whether a name is relative, has no empty, `.` or `..` part, and fits. The one exception is "." itself. */
bool name_is_safe(const char *name);

/* The last part of a path without trailing slashes, or "." for the root; `size` bounds the copy. */
void base_name(const char *path, char *out, size_t size);

/* open(2) that cannot leave the directory: no `..` above it, no absolute link out of it. -1 and errno. */
int open_beneath(int directory, const char *name, int flags, mode_t mode);

#endif
