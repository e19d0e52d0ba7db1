/* Unpacks entries beneath one directory. No name and no link in the archive can lead out of it. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "jobs.h"
#include "names.h"
#include "spawn.h"

#define MAX_PENDING 64

/* Directories get their mode and time when the walk has left them, so that a read-only one can still be filled. */
struct pending {
    char *name;
    uint32_t mode;
    struct timespec times[2];
};

static struct entry entry;
static struct pending pending[MAX_PENDING];
static int pending_count;
static int root = -1;
static uint8_t block[256 * 1024];

static void must(bool ok, const char *what)
{
    if (!ok)
        child_fail(errno == EACCES || errno == EPERM ? E_DENIED : E_IO, errno, "cannot %s `%.256s`", what, entry.name);
}

static void read_exactly(void *to, size_t size)
{
    char *at = to;
    while (size > 0) {
        ssize_t got = read(0, at, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            child_fail(E_PROTOCOL, 0, "the archive ends in the middle");
        at += got;
        size -= (size_t)got;
    }
}

static void read_text(char *to, uint32_t size)
{
    read_exactly(to, size);
    to[size] = 0;
    if (strlen(to) != size)
        child_fail(E_PROTOCOL, 0, "a name in the archive holds a zero byte");
}

static void read_entry(void)
{
    uint8_t head[ENTRY_HEAD];
    uint32_t name_size, target_size;
    read_exactly(head, sizeof head);
    if (entry_decode(head, &entry, &name_size, &target_size) < 0)
        child_fail(E_PROTOCOL, 0, "the archive is malformed");
    read_text(entry.name, name_size);
    read_text(entry.target, target_size);
}

/* Open the directory that holds the entry; `leaf` is the entry's last part. */
static int open_parent(const char *name, const char **leaf)
{
    char parent[MAX_PATH + 1];
    const char *slash = strrchr(name, '/');
    *leaf = slash == NULL ? name : slash + 1;
    if (slash == NULL)
        return fcntl(root, F_DUPFD_CLOEXEC, 3);
    memcpy(parent, name, (size_t)(slash - name));
    parent[slash - name] = 0;
    int fd = open_beneath(root, parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP))
        child_fail(E_DENIED, 0, "`%.256s` leads out of the destination", name);
    return fd;
}

static struct timespec modified(void)
{
    return (struct timespec){.tv_sec = (time_t)entry.mtime, .tv_nsec = entry.mtime_ns};
}

/* Only root can give files away; for anybody else they stay their own. */
static void set_owner(int directory, const char *leaf)
{
    if (geteuid() == 0)
        must(fchownat(directory, leaf, entry.uid, entry.gid, AT_SYMLINK_NOFOLLOW | (leaf[0] ? 0 : AT_EMPTY_PATH)) == 0,
             "set the owner of");
}

static void finish_directory(struct pending *p)
{
    int fd = open_beneath(root, p->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0) {
        futimens(fd, p->times);
        fchmod(fd, p->mode);
        close(fd);
    }
    free(p->name);
}

/* Finish the directories that `name` (NULL: nothing more) does not lie in. */
static void leave_directories(const char *name)
{
    while (pending_count > 0) {
        struct pending *top = &pending[pending_count - 1];
        size_t size = strlen(top->name);
        if (name != NULL && (strcmp(top->name, ".") == 0 || (strncmp(name, top->name, size) == 0 && name[size] == '/')))
            return;
        finish_directory(top);
        pending_count--;
    }
}

static void put_directory(int parent, const char *leaf)
{
    bool made = mkdirat(parent, leaf, 0700) == 0;
    must(made || errno == EEXIST, "make");
    int fd = open_beneath(parent, leaf, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (made ? O_NOFOLLOW : 0), 0);
    if (fd < 0 && (errno == EXDEV || errno == ELOOP))
        child_fail(E_DENIED, 0, "`%.256s` leads out of the destination", entry.name);
    must(fd >= 0, "open");
    if (strcmp(entry.name, ".") != 0) { /* the destination itself keeps what it is */
        set_owner(fd, "");
        fchmod(fd, entry.mode | 0700);
        if (pending_count == MAX_PENDING)
            child_fail(E_LIMIT, 0, "`%.256s` is nested too deeply", entry.name);
        struct timespec t = modified();
        pending[pending_count] = (struct pending){strdup(entry.name), entry.mode, {t, t}};
        must(pending[pending_count++].name != NULL, "remember");
    }
    close(fd);
}

static void put_content(int fd)
{
    uint64_t left = entry.size;
    while (left > 0) {
        size_t part = left < sizeof block ? (size_t)left : sizeof block;
        ssize_t got = read(0, block, part);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            child_fail(E_PROTOCOL, 0, "the archive ends in the middle");
        left -= (uint64_t)got;
        for (ssize_t at = 0; at < got;) {
            ssize_t done = write(fd, block + at, (size_t)(got - at));
            must(done > 0 || errno == EINTR, "write");
            at += done > 0 ? done : 0;
        }
    }
}

static void put_file(int parent, const char *leaf)
{
    struct timespec times[2] = {modified(), modified()};
    int fd = openat(parent, leaf, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    must(fd >= 0, "make");
    put_content(fd);
    set_owner(fd, "");
    must(fchmod(fd, entry.mode & 07777) == 0, "set the mode of"); /* after the owner, which would clear set-id bits */
    must(futimens(fd, times) == 0, "set the time of");
    must(close(fd) == 0, "write");
}

static void put_symlink(int parent, const char *leaf)
{
    struct timespec times[2] = {modified(), modified()};
    must(symlinkat(entry.target, parent, leaf) == 0, "make");
    set_owner(parent, leaf);
    utimensat(parent, leaf, times, AT_SYMLINK_NOFOLLOW);
}

static void put_hard_link(int parent, const char *leaf)
{
    const char *old_leaf;
    if (!name_is_safe(entry.target))
        child_fail(E_DENIED, 0, "the archive holds an unsafe link `%.256s`", entry.target);
    int old = open_parent(entry.target, &old_leaf);
    must(old >= 0 && linkat(old, old_leaf, parent, leaf, 0) == 0, "link");
    close(old);
}

static void put_entry(void)
{
    const char *leaf;
    if (!name_is_safe(entry.name))
        child_fail(E_DENIED, 0, "the archive holds an unsafe name `%.256s`", entry.name);
    leave_directories(entry.name);
    int parent = open_parent(entry.name, &leaf);
    must(parent >= 0, "find the directory of");
    if (entry.kind != 'd' && unlinkat(parent, leaf, 0) < 0)
        must(errno == ENOENT, "replace");
    if (entry.kind == 'd')
        put_directory(parent, leaf);
    else if (entry.kind == 'f')
        put_file(parent, leaf);
    else if (entry.kind == 'l')
        put_symlink(parent, leaf);
    else
        put_hard_link(parent, leaf);
    close(parent);
}

int job_put(const struct settings *s)
{
    root = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        child_fail(E_NO_DIRECTORY, errno, "cannot unpack into `%.256s`", s->path);
    for (read_entry(); entry.kind != 'e'; read_entry())
        put_entry();
    leave_directories(NULL);
    return 0;
}
