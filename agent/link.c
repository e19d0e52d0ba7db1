/* The connection: bytes in and out, and starting over when a host comes (again). See protocol.md, "Connections". */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include <stdlib.h>

#include "agent.h"

#define UP_MARK "yurt-agent is up"

void link_reset(struct agent *a)
{
    for (int i = 0; i < MAX_STREAMS; i++)
        if (a->streams[i] != NULL)
            stream_close(a, a->streams[i]);
    a->out.head = a->out.tail = 0;
    a->synced = false;
    free(a->request);
    a->request = NULL;
}

void link_announce(struct agent *a)
{
    outbox_zeros(&a->out, MAX_TO_HOST + FRAME_EXTRA);
    outbox_frame(&a->out, T_UP, 0, UP_MARK, 16, NULL, 0);
}

static void link_lost(struct agent *a)
{
    link_reset(a);
    parser_reset(&a->parser);
    if (a->is_port)
        a->link.readable = false; /* the next host makes an edge */
    else
        source_close(a->epoll, &a->link);
}

static void say_hello(struct agent *a)
{
    uint8_t payload[NONCE_SIZE + 12], *at = payload + NONCE_SIZE;
    bool exited = a->main != NULL && a->main->exited;
    memcpy(payload, a->nonce, NONCE_SIZE);
    put_u16(at, PROTOCOL_VERSION);
    at[2] = (uint8_t)a->mode;
    at[3] = (uint8_t)((a->main ? H_MAIN : 0) | (exited ? H_MAIN_EXITED : 0) | (a->console ? H_CONSOLE : 0));
    put_u32(at + 4, (uint32_t)getpid());
    put_u32(at + 8, 0); /* features, none beyond the protocol version yet */
    outbox_frame(&a->out, T_HELLO, 0, payload, sizeof payload, AGENT_VERSION, sizeof AGENT_VERSION - 1);
}

/* A SYNC with the nonce we have already answered is a repetition and ends nothing. */
static void handle_sync(struct agent *a)
{
    if (!a->synced || memcmp(a->nonce, a->parser.payload, NONCE_SIZE) != 0) {
        link_reset(a);
        memcpy(a->nonce, a->parser.payload, NONCE_SIZE);
        a->synced = true;
    }
    say_hello(a);
}

static void take_input(struct agent *a, const uint8_t *data, size_t size)
{
    enum parse_result result;
    while (size > 0) {
        size_t used = parser_feed(&a->parser, data, size, &result);
        data += used;
        size -= used;
        if (result == PARSE_LOST)
            link_reset(a);
        else if (result == PARSE_FRAME && a->parser.type == T_SYNC)
            handle_sync(a);
        else if (result == PARSE_FRAME)
            request_dispatch(a, a->parser.type, a->parser.stream,
                             (struct slice){a->parser.payload, a->parser.length});
    }
}

/* Read only while the answers to what was read are sure to fit. */
static bool pump_in(struct agent *a)
{
    uint8_t chunk[4096];
    bool moved = false;
    while (a->link.fd >= 0 && a->link.readable && outbox_room(&a->out) >= CONTROL_ROOM / 2) {
        ssize_t got = read(a->link.fd, chunk, sizeof chunk);
        if (got > 0) {
            take_input(a, chunk, (size_t)got);
            moved = true;
        } else if (got < 0 && errno == EAGAIN) {
            a->link.readable = false;
        } else if (got == 0 || errno != EINTR) {
            link_lost(a);
            return true;
        }
    }
    return moved;
}

static bool pump_out(struct agent *a)
{
    bool moved = false;
    while (a->link.fd >= 0 && a->link.writable && a->out.head < a->out.tail) {
        ssize_t done = write(a->link.fd, a->out.bytes + a->out.head, a->out.tail - a->out.head);
        if (done > 0) {
            a->out.head += (size_t)done;
            moved = true;
        } else if (done < 0 && errno == EAGAIN) {
            a->link.writable = false;
        } else if (done == 0 || errno != EINTR) {
            link_lost(a);
            return true;
        }
    }
    if (a->out.head == a->out.tail)
        a->out.head = a->out.tail = 0;
    return moved;
}

void link_pump(struct agent *a)
{
    bool moved;
    do {
        moved = pump_in(a);
        moved = streams_pump(a) || moved;
        moved = pump_out(a) || moved;
    } while (moved);
}
