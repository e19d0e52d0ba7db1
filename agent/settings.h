/* Settings: the tagged list that carries the boot configuration and the body of a request alike. */
#ifndef YURT_SETTINGS_H
#define YURT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tag {
    TAG_MODE = 1,
    TAG_HOSTNAME = 2,
    TAG_INIT = 3,
    TAG_INIT_ARGUMENT = 4, /* may repeat */
    TAG_COMMAND = 5,       /* may repeat */
    TAG_ENV = 6,           /* may repeat: NAME=VALUE */
    TAG_WORKDIR = 7,
    TAG_USER = 8,
    TAG_TTY = 9,
    TAG_STDIN = 10,
    TAG_NETWORK = 11,
    TAG_ADDRESS = 12,
    TAG_GATEWAY = 13,
    TAG_DNS = 14,
    TAG_ROOT_DEVICE = 15,
    TAG_MACHINE_ID = 16,
    TAG_ROWS = 17,
    TAG_COLUMNS = 18,
    TAG_PATH = 19,
    TAG_FOLLOW = 20,
    TAG_ACTION = 21,
    TAG_GRACE_MS = 22,
    TAG_NIC = 23, /* may repeat: words KEY=VALUE */
    TAG_SEARCH = 24,
    TAG_MOUNT = 32, /* may repeat: KIND:FLAGS:SOURCE:TARGET */
    TAG_CPUS = 40,
    TAG_MEMORY_MIB = 41,
    TAG_DISK_MIB = 42,
    TAG_PORT = 48,
};

#define SETTINGS_MAGIC "YURTCFG1"

/* Strings are never NULL: an absent one is empty. Lists end with NULL. */
struct settings {
    char *arena;
    char **lists;
    const char *mode, *hostname, *init, *workdir, *user, *network, *address, *gateway, *dns, *search;
    const char *root_device, *machine_id, *path, *action;
    char **init_arguments, **command, **env, **nics, **mounts;
    bool tty, stdin_open, follow;
    uint16_t rows, columns;
    uint32_t grace_ms, cpus, memory_mib, disk_mib, port;
};

/* Read a list of settings (with the magic in front when `magic`). False when it is malformed; frees nothing of the input. */
bool settings_parse(struct settings *s, const uint8_t *data, size_t size, bool magic);
void settings_free(struct settings *s);

#endif
