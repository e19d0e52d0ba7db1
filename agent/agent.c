#include "agent.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

bool agent_init(struct agent *a, enum guest_mode mode)
{
    sigset_t watched;
    memset(a, 0, sizeof *a);
    a->mode = mode;
    a->link.fd = a->listener.fd = a->signals.fd = a->timer.fd = -1;
    parser_reset(&a->parser);
    a->epoll = epoll_create1(EPOLL_CLOEXEC);
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    sigprocmask(SIG_BLOCK, &watched, NULL);
    int fd = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
    return a->epoll >= 0 && fd >= 0 && source_open(a->epoll, &a->signals, fd);
}

static void accept_host(struct agent *a)
{
    while (a->link.fd < 0 && a->listener.fd >= 0 && a->listener.readable) {
        int fd = accept4(a->listener.fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0) {
            parser_reset(&a->parser);
            source_open(a->epoll, &a->link, fd);
        } else if (errno != EINTR && errno != ECONNABORTED) {
            a->listener.readable = false;
        }
    }
}

static void note_exit(struct program *p, pid_t pid, int status)
{
    if (p == NULL || p->pid != pid || p->exited)
        return;
    p->exited = true;
    p->code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    p->out[0].readable = p->out[0].fd >= 0; /* whatever it left is read once more before the end */
    p->out[1].readable = p->out[1].fd >= 0;
}

/* Only a child that has made its parent its tracer (PTRACE_TRACEME) reports a stop here. Nobody traces it: it goes on
 * untraced, with the signal that stopped it, but for the trap of execve. */
static bool went_on(pid_t pid, int status)
{
    if (WIFEXITED(status) || WIFSIGNALED(status))
        return false;
    if (WIFSTOPPED(status))
        ptrace(PTRACE_DETACH, pid, NULL, (void *)(long)(WSTOPSIG(status) == SIGTRAP ? 0 : WSTOPSIG(status)));
    return true;
}

static void reap(struct agent *a)
{
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (went_on(pid, status))
            continue;
        note_exit(a->main, pid, status);
        for (int i = 0; i < MAX_STREAMS; i++)
            if (a->streams[i] != NULL && a->streams[i]->program != a->main)
                note_exit(a->streams[i]->program, pid, status);
    }
}

static void read_signals(struct agent *a)
{
    struct signalfd_siginfo info;
    bool child = false;
    while (a->signals.readable) {
        if (read(a->signals.fd, &info, sizeof info) != sizeof info)
            a->signals.readable = false;
        else if (info.ssi_signo == SIGCHLD)
            child = true;
        else
            shutdown_begin(a, 0);
    }
    if (child)
        reap(a);
}

static bool output_on_its_way(const struct agent *a)
{
    for (int i = 0; i < MAX_STREAMS; i++)
        if (a->streams[i] != NULL && a->streams[i]->kind == K_ATTACH)
            return true;
    return a->out.head < a->out.tail;
}

static bool finished(struct agent *a)
{
    bool main_ended = a->main == NULL || a->main->exited;
    if (a->ending)
        return main_ended && shutdown_over(a);
    return a->main != NULL && main_ended && a->collected && !output_on_its_way(a);
}

int agent_serve(struct agent *a)
{
    for (;;) {
        read_signals(a);
        shutdown_pump(a);
        accept_host(a);
        link_pump(a);
        if (a->listener.readable && a->link.fd < 0 && a->listener.fd >= 0)
            continue; /* the last host has gone and the next one waits already */
        if (finished(a)) {
            link_reset(a); /* what was started for the host ends with us */
            return a->main != NULL ? a->main->code : 0;
        }
        source_wait(a->epoll, -1);
    }
}
