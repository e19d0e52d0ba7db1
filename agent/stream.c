#include "agent.h"

#include <stdlib.h>
#include <string.h>

static bool owns_program(const struct stream *s)
{
    return s->kind != K_ATTACH && s->kind != K_CONSOLE && s->kind != K_WAIT;
}

struct stream *stream_find(struct agent *a, uint32_t id)
{
    for (int i = 0; i < MAX_STREAMS; i++)
        if (a->streams[i] != NULL && a->streams[i]->id == id)
            return a->streams[i];
    return NULL;
}

struct stream *stream_new(struct agent *a, uint32_t id, enum stream_kind kind, uint32_t window)
{
    for (int i = 0; i < MAX_STREAMS; i++) {
        if (a->streams[i] != NULL)
            continue;
        struct stream *s = calloc(1, sizeof *s);
        if (s == NULL)
            return NULL;
        s->id = id;
        s->kind = kind;
        s->credit[0] = s->credit[1] = window;
        a->streams[i] = s;
        return s;
    }
    return NULL;
}

void stream_fail(struct agent *a, uint32_t id, enum error_code code, const char *text)
{
    uint8_t head[2];
    size_t size = strnlen(text, ERROR_TEXT);
    put_u16(head, (uint16_t)code);
    outbox_frame(&a->out, T_ERROR, id, head, sizeof head, text, size);
}

static void forget(struct agent *a, struct stream *s)
{
    for (int i = 0; i < MAX_STREAMS; i++)
        if (a->streams[i] == s)
            a->streams[i] = NULL;
    if (owns_program(s) && s->program != NULL)
        program_free(a->epoll, s->program);
    free(s);
}

void stream_close(struct agent *a, struct stream *s)
{
    if (owns_program(s) && s->program != NULL)
        program_hang_up(s->program);
    forget(a, s);
}

void stream_input(struct agent *a, struct stream *s, const uint8_t *data, size_t size)
{
    struct ring *input = &s->program->input;
    if (!s->opened || s->kind == K_WAIT || s->program->input_end || input->end + size > s->granted ||
        !ring_put(input, data, size)) {
        stream_fail(a, s->id, E_PROTOCOL, "more input than was granted");
        stream_close(a, s);
    }
}

static bool send_opened(struct agent *a, struct stream *s)
{
    uint8_t payload[8];
    uint32_t window = (uint32_t)ring_room(&s->program->input);
    put_u32(payload, (uint32_t)s->program->pid);
    put_u32(payload + 4, window);
    if (!outbox_frame(&a->out, T_OPENED, s->id, payload, sizeof payload, NULL, 0))
        return false;
    s->granted = s->program->input.end + window;
    for (int channel = 0; channel < 2; channel++)
        s->sent[channel] = s->program->output[channel].base;
    s->opened = true;
    return true;
}

/* Give the host new credit once a quarter of the window is free, or at once when all of it is. */
static bool grant_input(struct agent *a, struct stream *s)
{
    uint8_t payload[5] = {CH_IN};
    struct ring *input = &s->program->input;
    uint64_t limit = input->base + WINDOW;
    if (limit <= s->granted || (limit - s->granted < WINDOW / 4 && ring_used(input) > 0) || s->kind == K_WAIT)
        return false;
    put_u32(payload + 1, (uint32_t)(limit - s->granted));
    if (!outbox_frame(&a->out, T_CREDIT, s->id, payload, sizeof payload, NULL, 0))
        return false;
    s->granted = limit;
    return true;
}

static bool send_output(struct agent *a, struct stream *s, int channel)
{
    struct program *p = s->program;
    struct ring *r = &p->output[channel];
    if (s->sent[channel] < r->base)
        s->sent[channel] = r->base; /* a console reader that was too slow misses the oldest bytes */
    uint64_t left = r->end - s->sent[channel];
    size_t limit = left < s->credit[channel] ? (size_t)left : s->credit[channel];
    size_t done = outbox_data(&a->out, s->id, (uint8_t)(channel + 1), r, s->sent[channel], limit);
    s->sent[channel] += done;
    s->credit[channel] -= (uint32_t)done;
    if (owns_program(s))
        r->base = s->sent[channel];
    return done > 0;
}

static bool send_end(struct agent *a, struct stream *s, int channel)
{
    uint8_t payload = (uint8_t)(channel + 1);
    if (s->ended[channel] || !program_output_ended(s->program, channel) ||
        s->sent[channel] != s->program->output[channel].end)
        return false;
    s->ended[channel] = outbox_frame(&a->out, T_END, s->id, &payload, 1, NULL, 0);
    return s->ended[channel];
}

/* The main process's end is told once its output is known to have been read, so that none of it can be lost. */
static bool may_tell_exit(const struct stream *s)
{
    const struct program *p = s->program;
    if (!s->opened || !p->exited || p->status.fd >= 0)
        return false;
    if (s->kind == K_WAIT)
        return true;
    if (s->kind == K_ATTACH && (ring_used(&p->output[0]) > 0 || ring_used(&p->output[1]) > 0))
        return false;
    return s->ended[0] && s->ended[1];
}

/* The last frame of a stream: how its program ended, or why it never began. */
static bool send_last(struct agent *a, struct stream *s)
{
    struct program *p = s->program;
    uint8_t payload[4];
    if (outbox_room(&a->out) < ERROR_TEXT + 64)
        return false;
    if (p->failed && owns_program(s)) {
        stream_fail(a, s->id, (enum error_code)p->failure.code, p->failure.text);
    } else if (may_tell_exit(s)) {
        put_u32(payload, (uint32_t)p->code);
        outbox_frame(&a->out, T_EXIT, s->id, payload, sizeof payload, NULL, 0);
    } else {
        return false;
    }
    forget(a, s);
    return true;
}

static bool pump_one(struct agent *a, struct stream *s)
{
    struct program *p = s->program;
    bool moved = false;
    if (outbox_room(&a->out) < CONTROL_ROOM / 2)
        return false;
    if (!s->opened && p->started)
        moved = send_opened(a, s);
    if (s->opened && s->kind != K_WAIT) {
        moved = grant_input(a, s) || moved;
        for (int channel = 0; channel < 2; channel++) {
            moved = send_output(a, s, channel) || moved;
            moved = send_end(a, s, channel) || moved;
        }
    }
    return send_last(a, s) || moved;
}

bool streams_pump(struct agent *a)
{
    bool moved = false;
    unsigned first = a->turn++ % MAX_STREAMS;
    if (a->main != NULL)
        moved = program_pump(a->epoll, a->main);
    if (a->console != NULL)
        moved = program_pump(a->epoll, a->console) || moved;
    for (unsigned i = 0; i < MAX_STREAMS; i++) {
        struct stream *s = a->streams[(first + i) % MAX_STREAMS];
        if (s == NULL)
            continue;
        if (owns_program(s))
            moved = program_pump(a->epoll, s->program) || moved;
        moved = pump_one(a, s) || moved;
    }
    return moved;
}
