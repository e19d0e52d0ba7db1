/* Reads a file or a directory tree and writes it as entries. Never follows a link below the place it begins at. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "jobs.h"
#include "names.h"
#include "spawn.h"

#define MAX_DEPTH 512

static struct entry entry;
static uint8_t encoded[ENTRY_HEAD + 2 * (MAX_PATH + 1)];
static char block[256 * 1024];

static enum error_code code_for(int number)
{
    if (number == ENOENT || number == ENOTDIR)
        return E_NO_FILE;
    return number == EACCES || number == EPERM ? E_DENIED : E_IO;
}

static void send_entry(void)
{
    write_all(1, encoded, entry_encode(&entry, encoded));
}

/* A file that shrinks while it is read is filled up with zeros, one that grows is cut: the size was already said. */
static void send_content(int fd, uint64_t left)
{
    while (left > 0) {
        size_t want = left < sizeof block ? (size_t)left : sizeof block;
        ssize_t got = read(fd, block, want);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            child_fail(E_IO, errno, "cannot read `%.256s`", entry.name);
        if (got == 0) {
            memset(block, 0, want);
            got = (ssize_t)want;
        }
        write_all(1, block, (size_t)got);
        left -= (uint64_t)got;
    }
}

static void send_directory(int fd, size_t prefix, int depth);

static void send_link(int directory, const char *leaf)
{
    ssize_t size = readlinkat(directory, leaf, entry.target, MAX_PATH);
    if (size < 0)
        return; /* it changed under us */
    entry.target[size] = 0;
    send_entry();
    entry.target[0] = 0;
}

/* Where in `entry.name` the names of a directory's children begin; the root's own name "." is not part of theirs. */
static size_t begin_children(size_t name_size)
{
    if (name_size == 1 && entry.name[0] == '.')
        return 0;
    entry.name[name_size] = '/';
    return name_size + 1;
}

static void send_one(int directory, const char *leaf, size_t name_size, bool follow, int depth)
{
    struct stat st;
    int no_follow = follow ? 0 : O_NOFOLLOW;
    if (fstatat(directory, leaf, &st, follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0) {
        if (depth == 0)
            child_fail(code_for(errno), errno, "cannot read `%.256s`", leaf);
        return; /* it went away while we walked */
    }
    entry_of(&entry, &st);
    if (entry.kind == 'l') {
        send_link(directory, leaf);
    } else if (entry.kind == 'f' || entry.kind == 'd') {
        int fd = openat(directory, leaf, O_RDONLY | O_CLOEXEC | O_NONBLOCK | no_follow);
        if (fd < 0 || fstat(fd, &st) < 0) {
            if (errno == ENOENT && depth > 0)
                return;
            child_fail(code_for(errno), errno, "cannot read `%.256s`", depth > 0 ? entry.name : leaf);
        }
        entry_of(&entry, &st); /* what we hold now may not be what we saw a moment ago */
        if (entry.kind == 'f' || entry.kind == 'd')
            send_entry();
        if (entry.kind == 'f')
            send_content(fd, entry.size);
        if (entry.kind == 'd')
            send_directory(fd, begin_children(name_size), depth);
        else
            close(fd);
    } else if (depth == 0) {
        child_fail(E_UNSUPPORTED, 0, "`%.256s` is neither a file, a directory nor a link", leaf);
    }
}

static void send_directory(int fd, size_t prefix, int depth)
{
    DIR *directory = fdopendir(fd);
    struct dirent *found;
    if (directory == NULL || depth >= MAX_DEPTH)
        child_fail(E_LIMIT, 0, "`%.256s` is nested too deeply", entry.name);
    while ((found = readdir(directory)) != NULL) {
        size_t leaf = strlen(found->d_name);
        if (strcmp(found->d_name, ".") == 0 || strcmp(found->d_name, "..") == 0)
            continue;
        if (prefix + leaf + 1 >= MAX_PATH)
            child_fail(E_LIMIT, 0, "a name below `%.256s` is too long", entry.name);
        memcpy(entry.name + prefix, found->d_name, leaf + 1);
        send_one(dirfd(directory), found->d_name, prefix + leaf, false, depth + 1);
    }
    closedir(directory);
}

int job_get(const struct settings *s)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    if (s->path[0] == 0)
        child_fail(E_NO_FILE, 0, "no path was named");
    base_name(s->path, entry.name, sizeof entry.name);
    send_one(AT_FDCWD, s->path, strlen(entry.name), s->follow, 0);
    memset(&entry, 0, sizeof entry);
    entry.kind = 'e';
    send_entry();
    return 0;
}

int job_stat(const struct settings *s)
{
    struct stat st;
    if (fstatat(AT_FDCWD, s->path, &st, s->follow ? 0 : AT_SYMLINK_NOFOLLOW) < 0)
        child_fail(code_for(errno), errno, "cannot read `%.256s`", s->path);
    entry_of(&entry, &st);
    if (entry.kind == 'l') {
        ssize_t size = readlinkat(AT_FDCWD, s->path, entry.target, MAX_PATH);
        entry.target[size < 0 ? 0 : size] = 0;
    }
    send_entry();
    return 0;
}
