/* Descriptors watched by edge-triggered epoll: an event only sets a flag, EAGAIN clears it, so nothing ever spins. */
#ifndef YURT_SOURCE_H
#define YURT_SOURCE_H

#include <stdbool.h>

struct source {
    int fd; /* -1: closed */
    bool readable, writable;
};

/* Watch a descriptor (made non-blocking; regular files count as always ready). Closes it and returns false on failure. */
bool source_open(int epoll, struct source *s, int fd);
/* Stop watching and close; forked children may hold the same file, so closing alone would not end the watch. */
void source_close(int epoll, struct source *s);
void source_wait(int epoll, int timeout_ms);

#endif
