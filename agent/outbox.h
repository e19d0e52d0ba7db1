/* Frames on their way to the host. Bulk data leaves room for control frames, so those always fit. */
#ifndef YURT_OUTBOX_H
#define YURT_OUTBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto.h"
#include "ring.h"

#define FRAME_EXTRA (HEADER_SIZE + 1)
#define CONTROL_ROOM (16 * 1024)
#define OUTBOX_SIZE (3 * MAX_TO_HOST + CONTROL_ROOM)

struct outbox {
    uint8_t bytes[OUTBOX_SIZE];
    size_t head, tail;
};

size_t outbox_room(const struct outbox *o);
/* Append a frame whose payload is `a` then `b`. False (and nothing appended) when it does not fit. */
bool outbox_frame(struct outbox *o, uint8_t type, uint32_t stream, const void *a, size_t a_size, const void *b,
                  size_t b_size);
/* Append a DATA frame with bytes of a ring, as many as fit and at most `limit`. Returns how many. */
size_t outbox_data(struct outbox *o, uint32_t stream, uint8_t channel, const struct ring *r, uint64_t from, size_t limit);
bool outbox_zeros(struct outbox *o, size_t size);

#endif
