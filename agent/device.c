#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define PORT_NAME "org.yurt.agent.0"
#define EXT4_SUPER_OFFSET 1024
#define EXT4_MAGIC 0xef53

static int listen_uevents(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static long now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Look, then look again after every event of the kernel's devices, until found or the time is over. */
bool device_wait(bool (*found)(void *context), void *context, int timeout_s)
{
    char event[8192];
    long deadline = now_ms() + timeout_s * 1000L;
    int fd = listen_uevents();
    bool done = found(context);
    while (!done && fd >= 0) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        long left = timeout_s < 0 ? -1 : deadline - now_ms();
        if (timeout_s >= 0 && left <= 0)
            break;
        if (poll(&p, 1, (int)left) > 0)
            while (recv(fd, event, sizeof event, 0) > 0)
                ; /* what happened does not matter, that something did is enough */
        done = found(context);
    }
    if (fd >= 0)
        close(fd);
    return done;
}

static bool is_our_port(const char *entry)
{
    char path[300], name[64] = "";
    snprintf(path, sizeof path, "/sys/class/virtio-ports/%.200s/name", entry);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, name, sizeof name - 1);
    close(fd);
    name[size > 0 ? size : 0] = 0;
    name[strcspn(name, "\n")] = 0;
    return strcmp(name, PORT_NAME) == 0;
}

int device_find_port(void)
{
    DIR *directory = opendir("/sys/class/virtio-ports");
    struct dirent *entry;
    char path[300];
    int fd = -1;
    if (directory == NULL)
        return -1;
    while (fd < 0 && (entry = readdir(directory)) != NULL) {
        if (entry->d_name[0] == '.' || !is_our_port(entry->d_name))
            continue;
        snprintf(path, sizeof path, "/dev/%.200s", entry->d_name);
        fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno == EBUSY)
            break; /* another agent serves it already */
    }
    int number = errno;
    closedir(directory);
    errno = number;
    return fd;
}

static bool look_for_port(void *context)
{
    int *fd = context;
    *fd = device_find_port();
    return *fd >= 0 || errno == EBUSY;
}

int device_wait_port(int timeout_s)
{
    int fd = -1;
    device_wait(look_for_port, &fd, timeout_s);
    return fd;
}

static uint64_t get(const uint8_t *at, int size)
{
    uint64_t value = 0;
    while (size-- > 0)
        value = value << 8 | at[size];
    return value;
}

static bool read_super(const char *path, uint8_t super[1024])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool good = pread(fd, super, 1024, EXT4_SUPER_OFFSET) == 1024 && get(super + 56, 2) == EXT4_MAGIC;
    close(fd);
    return good;
}

uint64_t device_ext4_bytes(const char *path, uint32_t *block_size)
{
    uint8_t super[1024];
    if (!read_super(path, super) || get(super + 24, 4) > 6)
        return 0;
    *block_size = 1024U << get(super + 24, 4);
    bool wide = get(super + 96, 4) & 0x80;
    return (get(super + 4, 4) | (wide ? get(super + 336, 4) << 32 : 0)) * *block_size;
}

struct root_search {
    const char *wanted;
    char *path;
    size_t size;
};

static bool has_label(const char *path, const char *label)
{
    uint8_t super[1024];
    char name[17] = "";
    if (!read_super(path, super))
        return false;
    memcpy(name, super + 120, 16);
    return strcmp(name, label) == 0;
}

static bool has_serial(const char *entry, const char *serial)
{
    char path[300], number[64] = "";
    snprintf(path, sizeof path, "/sys/class/block/%.200s/serial", entry);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t size = read(fd, number, sizeof number - 1);
    close(fd);
    number[size > 0 ? size : 0] = 0;
    number[strcspn(number, "\n")] = 0;
    return strcmp(number, serial) == 0;
}

static bool fits(const struct root_search *r, const char *entry)
{
    if (strncmp(r->wanted, "SERIAL=", 7) == 0)
        return has_serial(entry, r->wanted + 7);
    return has_label(r->path, r->wanted + 6);
}

static bool look_for_root(void *context)
{
    struct root_search *r = context;
    struct stat st;
    bool found = false;
    if (strncmp(r->wanted, "LABEL=", 6) != 0 && strncmp(r->wanted, "SERIAL=", 7) != 0) {
        snprintf(r->path, r->size, "%s", r->wanted);
        return stat(r->path, &st) == 0 && S_ISBLK(st.st_mode);
    }
    DIR *directory = opendir("/sys/class/block");
    struct dirent *entry;
    while (directory != NULL && !found && (entry = readdir(directory)) != NULL) {
        snprintf(r->path, r->size, "/dev/%.200s", entry->d_name);
        found = entry->d_name[0] != '.' && fits(r, entry->d_name);
    }
    if (directory != NULL)
        closedir(directory);
    return found;
}

int device_wait_root(const char *wanted, char *path, size_t size, int timeout_s)
{
    struct root_search search = {wanted, path, size};
    return device_wait(look_for_root, &search, timeout_s) ? 0 : -1;
}
