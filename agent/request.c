/* What the host asks for. Everything is checked here; a request that breaks a rule ends its stream and nothing else. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "agent.h"
#include "jobs.h"

static void attach(struct agent *a, uint32_t id, enum stream_kind kind, uint32_t window)
{
    struct program *p = kind == K_CONSOLE ? a->console : a->main;
    struct stream *s;
    if (p == NULL) {
        stream_fail(a, id, E_UNSUPPORTED, kind == K_CONSOLE ? "no console here" : "no main process here");
        return;
    }
    s = stream_new(a, id, kind, window);
    if (s == NULL)
        stream_fail(a, id, E_LIMIT, "too many streams");
    else
        s->program = p;
}

static void start(struct agent *a, uint32_t id, enum stream_kind kind, uint32_t window, const struct settings *request)
{
    static const job jobs[] = {[K_GET] = job_get, [K_PUT] = job_put, [K_STAT] = job_stat, [K_CONFIGURE] = job_configure,
                               [K_MOUNT] = job_mount, [K_GROW] = job_grow, [K_CONNECT] = job_connect};
    struct spawned made;
    struct stream *s = stream_new(a, id, kind, window);
    if (s == NULL) {
        stream_fail(a, id, E_LIMIT, "too many streams");
        return;
    }
    int done = kind == K_EXEC ? spawn_command(request, &made) : spawn_job(jobs[kind], request, &made);
    if (done == 0)
        s->program = program_new(a->epoll, &made, kind == K_EXEC && request->tty, kind != K_EXEC);
    if (s->program == NULL) {
        stream_close(a, s);
        stream_fail(a, id, E_LIMIT, "no room for another program in the guest");
    }
}

static void open_stream(struct agent *a, uint32_t id, uint8_t kind, uint32_t window, struct slice body)
{
    struct settings request;
    if (!settings_parse(&request, body.at, body.size, kind == K_CONFIGURE)) {
        stream_fail(a, id, E_PROTOCOL, "malformed request");
        return;
    }
    if (kind == K_ATTACH || kind == K_CONSOLE || kind == K_WAIT)
        attach(a, id, kind, window);
    else if (kind == K_GROW && a->mode != M_VM && a->mode != M_MICROVM)
        stream_fail(a, id, E_UNSUPPORTED, "only a machine can grow");
    else if (kind == K_SHUTDOWN)
        shutdown_request(a, id, &request);
    else if ((kind >= K_EXEC && kind <= K_CONFIGURE) || kind == K_GROW || kind == K_MOUNT || kind == K_CONNECT)
        start(a, id, kind, window, &request);
    else
        stream_fail(a, id, E_UNSUPPORTED, "unknown kind of stream");
    settings_free(&request);
}

static void drop_request(struct agent *a)
{
    free(a->request);
    a->request = NULL;
    a->request_size = 0;
}

/* Collect the parts of a long request. True when `body` is whole. */
static bool collect(struct agent *a, uint32_t id, uint8_t flags, struct slice *body)
{
    if (a->request != NULL && a->request_stream != id)
        drop_request(a);
    if (a->request == NULL && !(flags & OPEN_MORE))
        return true;
    if (a->request == NULL)
        a->request = malloc(MAX_REQUEST);
    if (a->request == NULL || a->request_size + body->size > MAX_REQUEST) {
        drop_request(a);
        stream_fail(a, id, E_LIMIT, "the request is too long");
        return false;
    }
    if (body->size > 0)
        memcpy(a->request + a->request_size, body->at, body->size);
    a->request_size += body->size;
    a->request_stream = id;
    *body = (struct slice){a->request, a->request_size};
    return !(flags & OPEN_MORE);
}

static void handle_open(struct agent *a, uint32_t id, struct slice payload)
{
    uint8_t kind, flags;
    uint32_t window;
    if (id == 0 || !take_u8(&payload, &kind) || !take_u8(&payload, &flags) || !take_u32(&payload, &window) ||
        stream_find(a, id) != NULL) {
        stream_fail(a, id, E_PROTOCOL, "malformed OPEN");
        return;
    }
    if (!collect(a, id, flags, &payload))
        return;
    open_stream(a, id, kind, window, payload);
    drop_request(a);
}

static void add_credit(struct stream *s, struct slice payload)
{
    uint8_t channel;
    uint32_t more;
    if (!take_u8(&payload, &channel) || !take_u32(&payload, &more) || channel < 1 || channel > 2)
        return;
    uint32_t *credit = &s->credit[channel - 1];
    *credit = *credit > UINT32_MAX - more ? UINT32_MAX : *credit + more;
    if (s->kind == K_ATTACH && s->opened) { /* credit confirms what was read: only now may the program's output go */
        struct ring *r = &s->program->output[channel - 1];
        uint64_t left = s->sent[channel - 1] - r->base;
        if (s->sent[channel - 1] >= r->base)
            r->base += more < left ? more : left;
    }
}

static void resize(struct stream *s, struct slice payload)
{
    uint16_t rows, columns;
    if (s->program != NULL && take_u16(&payload, &rows) && take_u16(&payload, &columns))
        program_resize(s->program, rows, columns);
}

static void send_signal(struct stream *s, struct slice payload)
{
    uint8_t number;
    if (take_u8(&payload, &number) && number > 0 && number < 65 && s->kind != K_CONSOLE)
        program_signal(s->program, number);
}

static void end_input(struct stream *s, struct slice payload)
{
    uint8_t channel;
    if (s->kind != K_CONSOLE && s->kind != K_WAIT && take_u8(&payload, &channel) && channel == CH_IN)
        s->program->input_end = true;
}

static void handle_data(struct agent *a, struct stream *s, struct slice payload)
{
    uint8_t channel;
    if (take_u8(&payload, &channel) && channel == CH_IN)
        stream_input(a, s, payload.at, payload.size);
}

void request_dispatch(struct agent *a, uint8_t type, uint32_t id, struct slice payload)
{
    struct stream *s;
    if (type == T_OPEN) {
        handle_open(a, id, payload);
        return;
    }
    if (type == T_PING) {
        outbox_frame(&a->out, T_PONG, id, payload.at, payload.size < 64 ? payload.size : 64, NULL, 0);
        return;
    }
    if (type == T_COLLECT && a->main != NULL && a->main->exited)
        a->collected = true;
    s = stream_find(a, id);
    if (s == NULL)
        return; /* it has just ended here, and the host did not know yet */
    switch (type) {
    case T_DATA: handle_data(a, s, payload); break;
    case T_CREDIT: add_credit(s, payload); break;
    case T_END: end_input(s, payload); break;
    case T_RESIZE: resize(s, payload); break;
    case T_SIGNAL: send_signal(s, payload); break;
    case T_CLOSE: stream_close(a, s); break;
    default: break;
    }
}
