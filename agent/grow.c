/* Takes up what the host has given a running guest: vCPUs, memory, a larger root disk. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "gpt.h"
#include "guest.h"
#include "jobs.h"
#include "spawn.h"

#define GROW_WAIT_S 5
#define MIB (1024ULL * 1024)
#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)
#define CPUS "/sys/devices/system/cpu"
#define MEMORY "/sys/devices/system/memory"

static bool read_word(const char *path, char *word, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, word, size - 1);
    if (fd >= 0)
        close(fd);
    word[got > 0 ? got : 0] = 0;
    word[strcspn(word, "\n")] = 0;
    return got > 0;
}

static uint64_t read_number(const char *path, int base)
{
    char word[32];
    return read_word(path, word, sizeof word) ? strtoull(word, NULL, base) : 0;
}

static bool write_word(const char *path, const char *word)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, word, strlen(word)) == (ssize_t)strlen(word);
    int number = errno;
    if (fd >= 0)
        close(fd);
    errno = number;
    return done;
}

/* --- vCPUs and memory: parts that the kernel has found, each a directory NAMEnumber, and uses when it is told to --- */

struct parts {
    const char *directory, *prefix, *file, *off, *on;
    unsigned count;
    uint64_t wanted;
    int number; /* of the first failure */
};

static void each_part(struct parts *p, bool bring)
{
    DIR *directory = opendir(p->directory);
    struct dirent *entry;
    char path[300], word[32], *end;
    p->count = 0;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, p->prefix, strlen(p->prefix)) != 0 || entry->d_name[strlen(p->prefix)] == 0)
            continue;
        strtoul(entry->d_name + strlen(p->prefix), &end, 10);
        if (*end != 0)
            continue;
        p->count++;
        snprintf(path, sizeof path, "%s/%.64s/%s", p->directory, entry->d_name, p->file);
        if (bring && read_word(path, word, sizeof word) && strcmp(word, p->off) == 0 && !write_word(path, p->on))
            p->number = p->number ? p->number : errno;
    }
    if (directory != NULL)
        closedir(directory);
}

static bool enough_parts(void *context)
{
    struct parts *p = context;
    each_part(p, false);
    return p->count >= p->wanted;
}

static void take_parts(struct parts *p, const char *what)
{
    bool all = device_wait(enough_parts, p, GROW_WAIT_S);
    each_part(p, true);
    if (p->number != 0)
        child_fail(E_IO, p->number, "cannot take all %s into use", what);
    if (!all)
        child_fail(E_IO, 0, "the guest's kernel has not found all %s", what);
}

static void take_cpus(uint32_t cpus)
{
    struct parts p = {.directory = CPUS, .prefix = "cpu", .file = "online", .off = "0", .on = "1", .wanted = cpus};
    if (cpus != 0)
        take_parts(&p, "vCPUs");
}

static void take_memory(uint32_t memory_mib)
{
    struct parts p = {.directory = MEMORY, .prefix = "memory", .file = "state", .off = "offline", .on = "online"};
    uint64_t block = read_number(MEMORY "/block_size_bytes", 16);
    p.wanted = block ? memory_mib * MIB / block : 0;
    if (memory_mib != 0)
        take_parts(&p, "memory");
}

/* --- the root disk ------------------------------------------------------------------------------------------------ */

struct disk {
    char name[64], partition[64]; /* `vda` and `vda2`; the second is empty when the whole disk is one file system */
    uint32_t number;              /* of the partition */
    uint64_t wanted_sectors;
};

static uint64_t disk_sectors(const struct disk *d)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/class/block/%s/size", d->name);
    return read_number(path, 10);
}

static bool has_grown(void *context)
{
    const struct disk *d = context;
    return disk_sectors(d) >= d->wanted_sectors;
}

/* Which disk, and which partition of it, the root file system lies on. */
static bool find_root(struct disk *d)
{
    struct stat st;
    char path[64], target[512], number[128];
    if (stat("/", &st) < 0)
        return false;
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u", major(st.st_dev), minor(st.st_dev));
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size <= 0)
        return false;
    target[size] = 0;
    char *own = strrchr(target, '/');
    if (own == NULL)
        return false;
    *own++ = 0;
    char *above = strrchr(target, '/');
    snprintf(number, sizeof number, "%s/partition", path);
    d->number = (uint32_t)read_number(number, 10);
    if (d->number != 0 && above == NULL)
        return false;
    snprintf(d->name, sizeof d->name, "%.63s", d->number ? above + 1 : own);
    snprintf(d->partition, sizeof d->partition, "%.63s", d->number ? own : "");
    return true;
}

static int tell_kernel(int fd, const struct disk *d, const struct gpt_grown *grown)
{
    struct blkpg_partition part = {
        .start = (long long)(grown->start * GPT_SECTOR), .length = (long long)(grown->sectors * GPT_SECTOR),
        .pno = (int)d->number};
    struct blkpg_ioctl_arg argument = {.op = BLKPG_RESIZE_PARTITION, .datalen = sizeof part, .data = &part};
    return ioctl(fd, BLKPG, &argument);
}

static bool write_at(int fd, const uint8_t *data, size_t size, uint64_t offset)
{
    return pwrite(fd, data, size, (off_t)offset) == (ssize_t)size;
}

/* The copy at the disk's new end first, the first table last: at any moment one of the two is whole. */
static void grow_partition(const struct disk *d)
{
    static uint8_t head[GPT_HEAD];
    static struct gpt_grown grown;
    char path[80];
    int sector = 0;
    snprintf(path, sizeof path, "/dev/%s", d->name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        child_fail(E_IO, errno, "cannot open `%s`", path);
    if (ioctl(fd, BLKSSZGET, &sector) < 0 || sector != GPT_SECTOR || pread(fd, head, GPT_HEAD, 0) != GPT_HEAD)
        child_fail(E_UNSUPPORTED, 0, "cannot read the partition table of `%s`", path);
    if (!gpt_enlarge(head, disk_sectors(d), d->number, &grown)) {
        close(fd); /* it may be as large as can be: then the file system is all there is to do */
        return;
    }
    bool written = write_at(fd, grown.tail, GPT_TAIL, grown.tail_at * GPT_SECTOR) && fsync(fd) == 0 &&
                   write_at(fd, grown.head, GPT_HEAD, 0) && fsync(fd) == 0;
    if (!written)
        child_fail(E_IO, errno, "cannot write the partition table of `%s`", path);
    if (tell_kernel(fd, d, &grown) < 0)
        child_fail(E_IO, errno, "the kernel does not take the larger partition `%s`", d->partition);
    close(fd);
}

bool guest_grow(const char *device, int mounted)
{
    uint32_t block_size = 0;
    uint64_t disk = 0, now = device_ext4_bytes(device, &block_size);
    int fd = open(device, O_RDONLY | O_CLOEXEC);
    bool known = fd >= 0 && ioctl(fd, BLKGETSIZE64, &disk) == 0;
    if (fd >= 0)
        close(fd);
    if (now == 0 || !known || disk / block_size <= now / block_size)
        return true;
    uint64_t blocks = disk / block_size;
    return ioctl(mounted, EXT4_IOC_RESIZE_FS, &blocks) == 0;
}

static void take_disk(uint32_t disk_mib)
{
    struct disk d = {.wanted_sectors = disk_mib * MIB / GPT_SECTOR};
    char path[80];
    if (disk_mib == 0)
        return;
    if (!find_root(&d))
        child_fail(E_UNSUPPORTED, 0, "the root file system lies on no disk");
    if (!device_wait(has_grown, &d, GROW_WAIT_S))
        child_fail(E_IO, 0, "the guest's kernel has not seen its disk grow");
    if (d.number != 0)
        grow_partition(&d);
    snprintf(path, sizeof path, "/dev/%s", d.number ? d.partition : d.name);
    int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    uint32_t block_size;
    if (root < 0 || device_ext4_bytes(path, &block_size) == 0)
        child_fail(E_UNSUPPORTED, 0, "the root file system is not ext4: only the disk has grown");
    if (!guest_grow(path, root))
        child_fail(E_IO, errno, "cannot grow the root file system");
    close(root);
}

int job_grow(const struct settings *s)
{
    take_cpus(s->cpus);
    take_memory(s->memory_mib);
    take_disk(s->disk_mib);
    return 0;
}
