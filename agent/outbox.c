#include "outbox.h"

#include <string.h>

#include "frame.h"

size_t outbox_room(const struct outbox *o)
{
    return OUTBOX_SIZE - (o->tail - o->head);
}

static bool make_room(struct outbox *o, size_t size)
{
    if (outbox_room(o) < size)
        return false;
    if (OUTBOX_SIZE - o->tail < size) {
        memmove(o->bytes, o->bytes + o->head, o->tail - o->head);
        o->tail -= o->head;
        o->head = 0;
    }
    return true;
}

bool outbox_frame(struct outbox *o, uint8_t type, uint32_t stream, const void *a, size_t a_size, const void *b,
                  size_t b_size)
{
    if (!make_room(o, a_size + b_size + FRAME_EXTRA))
        return false;
    uint8_t *at = o->bytes + o->tail;
    put_header(at, type, stream, (uint32_t)(a_size + b_size));
    at += HEADER_SIZE;
    if (a_size > 0)
        memcpy(at, a, a_size);
    if (b_size > 0)
        memcpy(at + a_size, b, b_size);
    at[a_size + b_size] = FRAME_END;
    o->tail += a_size + b_size + FRAME_EXTRA;
    return true;
}

size_t outbox_data(struct outbox *o, uint32_t stream, uint8_t channel, const struct ring *r, uint64_t from, size_t limit)
{
    size_t room = outbox_room(o);
    if (limit > MAX_TO_HOST - 1)
        limit = MAX_TO_HOST - 1;
    if (room < CONTROL_ROOM + MAX_TO_HOST + FRAME_EXTRA || limit == 0 || !make_room(o, limit + 1 + FRAME_EXTRA))
        return 0;
    uint8_t *at = o->bytes + o->tail;
    put_header(at, T_DATA, stream, (uint32_t)limit + 1);
    at[HEADER_SIZE] = channel;
    ring_copy(r, from, at + HEADER_SIZE + 1, limit);
    at[HEADER_SIZE + 1 + limit] = FRAME_END;
    o->tail += limit + 1 + FRAME_EXTRA;
    return limit;
}

bool outbox_zeros(struct outbox *o, size_t size)
{
    if (!make_room(o, size))
        return false;
    memset(o->bytes + o->tail, 0, size);
    o->tail += size;
    return true;
}
