#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "frame.h"
#include "jobs.h"
#include "names.h"
#include "spawn.h"

/* kind 1, mode 4, uid 4, gid 4, mtime 8, mtime_ns 4, size 8, name 4, target 4, zero 1 */
size_t entry_encode(const struct entry *e, uint8_t *to)
{
    size_t name = strlen(e->name), target = strlen(e->target);
    to[0] = e->kind;
    put_u32(to + 1, e->mode);
    put_u32(to + 5, e->uid);
    put_u32(to + 9, e->gid);
    put_u64(to + 13, e->mtime);
    put_u32(to + 21, e->mtime_ns);
    put_u64(to + 25, e->size);
    put_u32(to + 33, (uint32_t)name);
    put_u32(to + 37, (uint32_t)target);
    to[41] = 0;
    memcpy(to + ENTRY_HEAD, e->name, name);
    memcpy(to + ENTRY_HEAD + name, e->target, target);
    return ENTRY_HEAD + name + target;
}

int entry_decode(const uint8_t head[ENTRY_HEAD], struct entry *e, uint32_t *name_size, uint32_t *target_size)
{
    struct slice s = {head, ENTRY_HEAD};
    uint8_t zero = 1;
    bool whole = take_u8(&s, &e->kind) && take_u32(&s, &e->mode) && take_u32(&s, &e->uid) && take_u32(&s, &e->gid) &&
                 take_u64(&s, &e->mtime) && take_u32(&s, &e->mtime_ns) && take_u64(&s, &e->size) &&
                 take_u32(&s, name_size) && take_u32(&s, target_size) && take_u8(&s, &zero);
    if (!whole || zero != 0 || *name_size > MAX_PATH || *target_size > MAX_PATH || e->mtime_ns > 999999999)
        return -1;
    return memchr("fdlhe", e->kind, 5) != NULL ? 0 : -1;
}

void entry_of(struct entry *e, const struct stat *st)
{
    e->kind = S_ISREG(st->st_mode) ? 'f' : S_ISDIR(st->st_mode) ? 'd' : S_ISLNK(st->st_mode) ? 'l' : 'o';
    e->mode = st->st_mode & 07777;
    e->uid = st->st_uid;
    e->gid = st->st_gid;
    e->mtime = (uint64_t)st->st_mtim.tv_sec;
    e->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
    e->size = S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0;
    e->target[0] = 0;
}

void write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        ssize_t done = write(fd, at, size);
        if (done < 0 && errno != EINTR)
            child_fail(E_IO, errno, "cannot write");
        if (done > 0) {
            at += done;
            size -= (size_t)done;
        }
    }
}
