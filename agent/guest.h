/* Makes a guest out of a root file system: its name, its network, its few generated files, its mounts. */
#ifndef YURT_GUEST_H
#define YURT_GUEST_H

#include "agent.h"

/* guest.c. `root` is a descriptor of the guest's root directory; nothing outside it is ever touched. */
void guest_files(int root, const struct settings *s);
void guest_hostname(const struct settings *s);
void guest_mounts(void); /* the usual ones for a guest without an init of its own; what is mounted stays */
void guest_say(const char *format, ...) __attribute__((format(printf, 1, 2))); /* one line on the console */

/* grow.c: let a file system fill the disk `device` it lies on; `mounted` is a descriptor of its top. True: it does. */
bool guest_grow(const char *device, int mounted);

/* net.c: loopback up; every NIC of the settings, found by its MAC, up with its addresses and routes, or the first one
 * with the one address. `rename`: nobody uses them yet, so that each may get the name of its place, eth0, eth1, ...
 * 0, or -1 when something is missing. */
int guest_network(const struct settings *s, bool rename);
void guest_wait_nics(const struct settings *s); /* until the kernel has found them, or some seconds are over */

/* device.c: waiting is for the kernel's uevents; a negative time means for ever. */
bool device_wait(bool (*found)(void *context), void *context, int timeout_s); /* look, and again after each event */
int device_find_port(void);                        /* the open virtio port, or -1 */
int device_wait_port(int timeout_s);
int device_wait_root(const char *wanted, char *path, size_t size, int timeout_s); /* `/dev/NAME`, `LABEL=NAME` or `SERIAL=NUMBER` */
uint64_t device_ext4_bytes(const char *path, uint32_t *block_size); /* how large the file system on it is; 0: not ext4 */

/* mounts.c: volumes and shares. Each that can be mounted is; returns what failed first (and `number`), or NULL. */
const char *guest_mount(const struct settings *s, int *number);

/* initrd.c and container.c: the two lives as PID 1. They return only an exit code for main(). */
int initrd_main(char **argv);
int container_main(char **argv);
int start_main_process(struct agent *a, const struct settings *s);
int serve_beside_init(struct agent *a); /* in the forked child; the exit code */
void show_name(char **argv);
bool read_everything(int fd, uint8_t **data, size_t *size);

#endif
