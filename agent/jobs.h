/* What the agent does itself on request, each in a forked child: descriptors 0 and 1 carry bytes, child_fail reports. */
#ifndef YURT_JOBS_H
#define YURT_JOBS_H

#include <stdint.h>
#include <stddef.h>
#include <sys/stat.h>

#include "settings.h"

int job_get(const struct settings *s);
int job_put(const struct settings *s);
int job_stat(const struct settings *s);
int job_configure(const struct settings *s);
int job_grow(const struct settings *s);
int job_mount(const struct settings *s);
int job_connect(const struct settings *s);

/* One entry of an archive: a fixed head, the name, the target, then (for a file) `size` bytes. See protocol.md. */
#define ENTRY_HEAD 42
struct entry {
    uint8_t kind; /* 'f' file, 'd' directory, 'l' symbolic link, 'h' hard link, 'o' other (stat only), 'e' end */
    uint32_t mode, uid, gid;
    uint64_t mtime, size;
    uint32_t mtime_ns;
    char name[4097], target[4097];
};

size_t entry_encode(const struct entry *e, uint8_t *to); /* `to` has room for ENTRY_HEAD + 2 * 4096 */
/* Check and read the fixed head; the lengths of name and target come back beside it. */
int entry_decode(const uint8_t head[ENTRY_HEAD], struct entry *e, uint32_t *name_size, uint32_t *target_size);
void entry_of(struct entry *e, const struct stat *st);
void write_all(int fd, const void *data, size_t size);

#endif
