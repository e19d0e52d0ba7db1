/* Where a connect request wants to go: a port, and numbers only as address, as nothing here resolves names. */
#ifndef YURT_TARGET_H
#define YURT_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct target {
    struct sockaddr_storage address;
    socklen_t size;
};

/* The addresses to try, in turn; returns how many (at most 2), 0 when text or port are none. Empty: the guest itself. */
size_t target_parse(const char *text, uint32_t port, struct target found[2]);

#endif
