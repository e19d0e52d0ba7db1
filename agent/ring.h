/* A ring of WINDOW bytes addressed by absolute offsets, so that several readers can each keep their own place. */
#ifndef YURT_RING_H
#define YURT_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto.h"

struct ring {
    uint8_t *bytes; /* allocated on first use */
    uint64_t base;  /* oldest byte kept */
    uint64_t end;   /* one past the newest */
};

size_t ring_used(const struct ring *r);
size_t ring_room(const struct ring *r);
bool ring_put(struct ring *r, const uint8_t *data, size_t size); /* all or nothing */
void ring_copy(const struct ring *r, uint64_t from, uint8_t *to, size_t size);
/* read(2) into the ring once. With `overwrite` the oldest bytes make room. Returns what read returned. */
long ring_read(struct ring *r, int fd, bool overwrite);
/* write(2) from the ring once; what was written is dropped. */
long ring_write(struct ring *r, int fd);
void ring_free(struct ring *r);

#endif
