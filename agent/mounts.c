/* Volumes and shares: what the host has given the guest, mounted where the host was told to. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "guest.h"
#include "jobs.h"
#include "spawn.h"

#define FUSE_MAGIC 0x65735546
#define V9FS_MAGIC 0x01021997
#define DISK_WAIT_S 10
#define P9_OPTIONS "trans=virtio,version=9p2000.L,msize=512000,access=client"

/* `KIND:FLAGS:SOURCE:TARGET`, taken apart in place. */
struct wish {
    char text[8192];
    const char *kind, *source, *target;
    bool read_only;
};

static bool parse(const char *text, struct wish *w)
{
    char *rest = w->text;
    if (snprintf(w->text, sizeof w->text, "%s", text) >= (int)sizeof w->text)
        return false;
    w->kind = strsep(&rest, ":");
    const char *flags = strsep(&rest, ":");
    w->source = strsep(&rest, ":");
    w->target = rest;
    if (flags == NULL || w->source == NULL || w->target == NULL || w->target[0] != '/')
        return false;
    w->read_only = strcmp(flags, "ro") == 0;
    return true;
}

static void make_directories(const char *path)
{
    char part[4200];
    for (const char *at = path + 1; *at; at++)
        if (*at == '/' || at[1] == 0) {
            snprintf(part, sizeof part, "%.*s", (int)(at - path) + (*at != '/'), path);
            mkdir(part, 0755);
        }
}

static void grow_below(const char *device, const struct wish *w)
{
    int top = open(w->target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (top >= 0) {
        if (!w->read_only && !guest_grow(device, top))
            guest_say("cannot grow the file system on %s: %s", device, strerror(errno));
        close(top);
    }
}

/* A disk is never formatted here: what cannot be mounted is left as it is. */
static int mount_disk(const struct wish *w)
{
    static const char *const types[] = {"ext4", "xfs", "btrfs"};
    char wanted[64], device[300];
    struct stat disk, here;
    int number = EINVAL;
    snprintf(wanted, sizeof wanted, "SERIAL=%.40s", w->source);
    if (device_wait_root(wanted, device, sizeof device, DISK_WAIT_S) < 0)
        return ENODEV;
    bool mounted = stat(device, &disk) == 0 && stat(w->target, &here) == 0 && here.st_dev == disk.st_rdev;
    for (size_t i = 0; !mounted && i < sizeof types / sizeof types[0]; i++) {
        mounted = mount(device, w->target, types[i], w->read_only ? MS_RDONLY : 0, NULL) == 0;
        if (!mounted && i == 0)
            number = errno;
    }
    if (!mounted)
        return number;
    grow_below(device, w);
    return 0;
}

static int mount_share(const struct wish *w)
{
    struct statfs now;
    unsigned long flags = MS_NODEV | (w->read_only ? MS_RDONLY : 0);
    if (statfs(w->target, &now) == 0 && (now.f_type == FUSE_MAGIC || now.f_type == V9FS_MAGIC)) {
        struct stat here, above;
        char parent[4200];
        snprintf(parent, sizeof parent, "%s/..", w->target);
        if (stat(w->target, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev)
            return 0; /* it is mounted already */
    }
    if (mount(w->source, w->target, "virtiofs", flags, NULL) == 0)
        return 0;
    int number = errno;
    return mount(w->source, w->target, "9p", flags, P9_OPTIONS) == 0 ? 0 : number;
}

static int mount_one(const char *text, struct wish *w)
{
    if (!parse(text, w))
        return EINVAL;
    make_directories(w->target);
    return strcmp(w->kind, "disk") == 0 ? mount_disk(w) : mount_share(w);
}

const char *guest_mount(const struct settings *s, int *number)
{
    static struct wish w;
    static char failed[4300];
    failed[0] = 0;
    for (char **text = s->mounts; *text != NULL; text++) {
        int error = mount_one(*text, &w);
        if (error == 0)
            continue;
        guest_say("cannot mount %s: %s", *text, strerror(error));
        if (failed[0] == 0) {
            snprintf(failed, sizeof failed, "%.40s at %.4200s", w.source ? w.source : *text, w.target ? w.target : "");
            *number = error;
        }
    }
    return failed[0] != 0 ? failed : NULL;
}

int job_mount(const struct settings *s)
{
    int number = 0;
    const char *failed = guest_mount(s, &number);
    if (failed != NULL)
        child_fail(E_IO, number, "cannot mount %.256s", failed);
    return 0;
}
