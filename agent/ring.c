#include "ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define AT(offset) ((size_t)((offset) % WINDOW))

size_t ring_used(const struct ring *r)
{
    return (size_t)(r->end - r->base);
}

size_t ring_room(const struct ring *r)
{
    return WINDOW - ring_used(r);
}

static bool ready(struct ring *r)
{
    if (r->bytes == NULL)
        r->bytes = malloc(WINDOW);
    return r->bytes != NULL;
}

bool ring_put(struct ring *r, const uint8_t *data, size_t size)
{
    if (size > ring_room(r) || !ready(r))
        return false;
    size_t first = WINDOW - AT(r->end);
    if (first > size)
        first = size;
    memcpy(r->bytes + AT(r->end), data, first);
    memcpy(r->bytes, data + first, size - first);
    r->end += size;
    return true;
}

void ring_copy(const struct ring *r, uint64_t from, uint8_t *to, size_t size)
{
    size_t first = WINDOW - AT(from);
    if (first > size)
        first = size;
    memcpy(to, r->bytes + AT(from), first);
    memcpy(to + first, r->bytes, size - first);
}

long ring_read(struct ring *r, int fd, bool overwrite)
{
    size_t room = overwrite ? WINDOW / 2 : ring_room(r);
    if (!ready(r)) {
        errno = EAGAIN;
        return -1;
    }
    size_t part = WINDOW - AT(r->end);
    if (part > room)
        part = room;
    long got = read(fd, r->bytes + AT(r->end), part);
    if (got > 0) {
        r->end += (uint64_t)got;
        if (r->end - r->base > WINDOW)
            r->base = r->end - WINDOW;
    }
    return got;
}

long ring_write(struct ring *r, int fd)
{
    size_t part = WINDOW - AT(r->base);
    if (part > ring_used(r))
        part = ring_used(r);
    long done = write(fd, r->bytes + AT(r->base), part);
    if (done > 0)
        r->base += (uint64_t)done;
    return done;
}

void ring_free(struct ring *r)
{
    free(r->bytes);
    memset(r, 0, sizeof *r);
}
