/* One connection to something that listens in the guest: descriptor 0 goes to it, what it says comes out of 1. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "jobs.h"
#include "spawn.h"
#include "target.h"

#define PIECE (64 * 1024)

/* Bytes on their way from one descriptor to another. `over`: nothing more comes, or nobody takes it. */
struct way {
    int from, to;
    size_t start, end;
    bool ended, over;
    char bytes[PIECE];
};

static void take(struct way *w)
{
    ssize_t got = read(w->from, w->bytes, sizeof w->bytes);
    if (got > 0) {
        w->start = 0;
        w->end = (size_t)got;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        w->ended = true;
    }
}

static void give(struct way *w)
{
    ssize_t done = write(w->to, w->bytes + w->start, w->end - w->start);
    if (done > 0)
        w->start += (size_t)done;
    else if (done < 0 && errno != EAGAIN && errno != EINTR)
        w->over = true;
}

/* Wait until something can move, and move it. False when the wait fails. */
static bool step(struct way *up, struct way *down)
{
    struct way *ways[2] = {up, down};
    struct pollfd watched[2];
    for (int i = 0; i < 2; i++) {
        bool full = ways[i]->start < ways[i]->end;
        watched[i].fd = ways[i]->over ? -1 : full ? ways[i]->to : ways[i]->from;
        watched[i].events = full ? POLLOUT : POLLIN;
        watched[i].revents = 0;
    }
    if (poll(watched, 2, -1) < 0)
        return errno == EINTR;
    for (int i = 0; i < 2; i++) {
        if (watched[i].revents == 0)
            continue;
        if (watched[i].events == POLLOUT)
            give(ways[i]);
        else
            take(ways[i]);
    }
    return true;
}

static int relay(int fd)
{
    static struct way up, down;
    up.from = 0;
    up.to = down.from = fd;
    down.to = 1;
    for (int i = 0; i < 2; i++)
        fcntl(i, F_SETFL, O_NONBLOCK);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (!up.over || !down.over) {
        if (!step(&up, &down))
            return 1;
        if (!up.over && up.ended && up.start == up.end) {
            shutdown(fd, SHUT_WR);
            up.over = true;
        }
        if (!down.over && down.ended && down.start == down.end)
            down.over = true;
        if (down.over && down.to == 1) { /* the host hears the end; whoever listens may still want to be told things */
            close(1);
            down.to = -1;
            up.over = up.over || send(fd, "", 0, MSG_NOSIGNAL) < 0;
        }
    }
    return 0;
}

int job_connect(const struct settings *s)
{
    struct target targets[2];
    size_t count = target_parse(s->address, s->port, targets);
    int fd = -1, number = EINVAL;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < count && fd < 0; i++) {
        fd = socket(targets[i].address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&targets[i].address, targets[i].size) < 0) {
            number = i == 0 || errno != EADDRNOTAVAIL ? errno : number;
            close(fd);
            fd = -1;
        }
    }
    if (fd < 0)
        child_fail(number == ECONNREFUSED ? E_REFUSED : E_IO, number, "cannot connect to port %u in the guest", s->port);
    close(2); /* nothing comes there */
    return relay(fd);
}
