/* What bench/disk.py runs in a guest: direct I/O on a whole disk, each kind timed by itself; prints `NAME SECONDS` lines.
 * usage: diskio DEVICE MEBIBYTES OPERATIONS */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096
#define CHUNK (1 << 20)

static int fd;
static unsigned char *data;
static uint64_t state;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next_random(void) /* xorshift: the same places every time */
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void check(int good, const char *what)
{
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void sequential(int writing, int count)
{
    for (int i = 0; i < count; i++) {
        off_t at = (off_t)i * CHUNK;
        ssize_t done = writing ? pwrite(fd, data, CHUNK, at) : pread(fd, data, CHUNK, at);
        check(done == CHUNK, "sequential");
    }
}

static void scattered(int writing, int count, uint64_t blocks, int flush_each)
{
    state = 88172645463325252ULL;
    for (int i = 0; i < count; i++) {
        off_t at = (off_t)(next_random() % blocks) * BLOCK;
        ssize_t done = writing ? pwrite(fd, data, BLOCK, at) : pread(fd, data, BLOCK, at);
        check(done == BLOCK, "scattered");
        if (flush_each)
            check(fdatasync(fd) == 0, "fdatasync");
    }
}

#define TIMED(name, work)                         \
    do {                                          \
        double begin = now();                     \
        work;                                     \
        printf("%s %.6f\n", name, now() - begin); \
    } while (0)

int main(int argc, char **argv)
{
    uint64_t size = 0, all[2] = {0, 0};
    int mebibytes = argc == 4 ? atoi(argv[2]) : 0, operations = argc == 4 ? atoi(argv[3]) : 0;
    check(mebibytes > 0 && operations > 0, "usage: diskio DEVICE MEBIBYTES OPERATIONS");
    fd = open(argv[1], O_RDWR | O_DIRECT);
    check(fd >= 0 && ioctl(fd, BLKGETSIZE64, &size) == 0, argv[1]);
    check(posix_memalign((void **)&data, CHUNK, CHUNK) == 0, "memory");
    memset(data, 0x5a, CHUNK);
    all[1] = size;
    check(ioctl(fd, BLKDISCARD, all) == 0 && fsync(fd) == 0, "discard");
    TIMED("first-scattered-writes", scattered(1, operations, size / BLOCK, 0); fsync(fd));
    TIMED("sequential-write", sequential(1, mebibytes); fsync(fd));
    TIMED("sequential-read", sequential(0, mebibytes));
    TIMED("scattered-writes", scattered(1, operations, (uint64_t)mebibytes * CHUNK / BLOCK, 0); fsync(fd));
    TIMED("scattered-reads", scattered(0, operations, (uint64_t)mebibytes * CHUNK / BLOCK, 0));
    TIMED("flushed-writes", scattered(1, operations / 10, (uint64_t)mebibytes * CHUNK / BLOCK, 1));
    return 0;
}
