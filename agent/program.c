#include "program.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static bool watch(int epoll, struct source *s, int fd)
{
    s->fd = -1;
    return fd < 0 || source_open(epoll, s, fd);
}

struct program *program_new(int epoll, const struct spawned *made, bool tty, bool is_job)
{
    struct program *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    p->pid = made->pid;
    p->tty = tty;
    p->is_job = is_job;
    p->started = is_job;
    bool ok = watch(epoll, &p->in, made->in);
    ok = watch(epoll, &p->out[0], made->out) && ok;
    ok = watch(epoll, &p->out[1], made->err) && ok;
    ok = watch(epoll, &p->status, made->status) && ok;
    if (!ok) {
        program_free(epoll, p);
        return NULL;
    }
    return p;
}

void program_free(int epoll, struct program *p)
{
    source_close(epoll, &p->in);
    source_close(epoll, &p->out[0]);
    source_close(epoll, &p->out[1]);
    source_close(epoll, &p->status);
    ring_free(&p->input);
    ring_free(&p->output[0]);
    ring_free(&p->output[1]);
    free(p);
}

static bool would_block(struct source *s)
{
    if (errno == EAGAIN)
        s->readable = false;
    return errno == EAGAIN || errno == EINTR;
}

/* A main process that could not be started has ended, in the way a shell would say it. */
static void end_unstarted(struct program *p)
{
    static const char head[] = "yurt: ", tail[] = "\r\n";
    struct ring *r = &p->output[p->tty ? 0 : 1];
    p->exited = true;
    p->code = p->failure.code == E_NOT_FOUND ? 127 : 126;
    ring_put(r, (const uint8_t *)head, sizeof head - 1);
    ring_put(r, (const uint8_t *)p->failure.text, strlen(p->failure.text));
    ring_put(r, (const uint8_t *)tail + (p->tty ? 0 : 1), p->tty ? 2 : 1);
}

static bool pump_status(int epoll, struct program *p)
{
    if (p->status.fd < 0 || !p->status.readable)
        return false;
    ssize_t got = read(p->status.fd, &p->failure, sizeof p->failure);
    if (got < 0 && would_block(&p->status))
        return false;
    p->failed = got == sizeof p->failure;
    p->failure.text[sizeof p->failure.text - 1] = 0;
    p->started = !p->failed || p->keep;
    if (p->failed && p->keep)
        end_unstarted(p);
    source_close(epoll, &p->status);
    return true;
}

/* On a terminal, EIO only says that nobody has it open just now: the console will be opened again, and a program that
 * has closed it early would get a SIGHUP if we closed our end before its own. */
static bool pump_output(int epoll, struct program *p, int channel)
{
    struct source *s = &p->out[channel];
    struct ring *r = &p->output[channel];
    bool moved = false;
    while (s->fd >= 0 && s->readable && (p->overwrite || ring_room(r) > 0)) {
        long got = ring_read(r, s->fd, p->overwrite);
        if (got > 0) {
            moved = true;
        } else if (got < 0 && errno == EINTR) {
            continue;
        } else if ((got < 0 && errno == EAGAIN) || p->overwrite || (p->tty && !p->exited)) {
            s->readable = false;
        } else {
            source_close(epoll, s);
            moved = true;
        }
    }
    /* after its end only what is there already counts: a daemon it left behind must not hold the stream open */
    if (p->exited && s->fd >= 0 && !s->readable && !p->overwrite) {
        source_close(epoll, s);
        moved = true;
    }
    return moved;
}

static void end_input(int epoll, struct program *p)
{
    static const char end_of_transmission = 4;
    if (p->tty && p->in.fd >= 0 && write(p->in.fd, &end_of_transmission, 1) < 0 && errno == EAGAIN) {
        p->in.writable = false;
        return;
    }
    source_close(epoll, &p->in);
}

static bool pump_input(int epoll, struct program *p)
{
    bool moved = false;
    while (ring_used(&p->input) > 0) {
        if (p->in.fd < 0) { /* nobody reads it any more */
            p->input.base = p->input.end;
            return true;
        }
        if (!p->in.writable)
            return moved;
        long done = ring_write(&p->input, p->in.fd);
        if (done > 0) {
            moved = true;
        } else if (done < 0 && errno == EINTR) {
            continue;
        } else if (done < 0 && errno == EAGAIN) {
            p->in.writable = false;
        } else if (p->overwrite) {
            p->input.base = p->input.end; /* the console stays open */
        } else {
            source_close(epoll, &p->in);
        }
    }
    if (p->input_end && p->in.fd >= 0 && p->in.writable) {
        end_input(epoll, p);
        moved = true;
    }
    return moved;
}

bool program_pump(int epoll, struct program *p)
{
    bool moved = pump_status(epoll, p);
    moved = pump_input(epoll, p) || moved;
    moved = pump_output(epoll, p, 0) || moved;
    return pump_output(epoll, p, 1) || moved;
}

bool program_output_ended(const struct program *p, int channel)
{
    return p->out[channel].fd < 0;
}

void program_signal(struct program *p, int number)
{
    pid_t group = 0;
    if (p->pid <= 0 || p->exited)
        return;
    if (p->tty && p->out[0].fd >= 0)
        ioctl(p->out[0].fd, TIOCGPGRP, &group);
    if (group <= 0 || kill(-group, number) < 0)
        kill(-p->pid, number);
}

void program_resize(struct program *p, uint16_t rows, uint16_t columns)
{
    struct winsize window = {.ws_row = rows, .ws_col = columns};
    int fd = p->in.fd >= 0 ? p->in.fd : p->out[0].fd;
    if ((p->tty || p->overwrite) && fd >= 0)
        ioctl(fd, TIOCSWINSZ, &window);
}

void program_hang_up(struct program *p)
{
    if (p->pid <= 0 || p->exited)
        return;
    kill(-p->pid, p->is_job ? SIGKILL : SIGHUP);
    kill(-p->pid, SIGCONT);
}
