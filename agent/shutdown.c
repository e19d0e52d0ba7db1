/* Ends the guest: asks its init in the way that init understands, or ends everything when we are PID 1 ourselves. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "agent.h"

#define DEFAULT_GRACE_MS 10000
#define LAST_CALL_MS 1000

/* The file that runs as PID 1, without its directory. */
static void name_of_init(char *name, size_t size)
{
    char path[512];
    ssize_t got = readlink("/proc/1/exe", path, sizeof path - 1);
    name[0] = 0;
    if (got <= 0)
        return;
    path[got] = 0;
    const char *slash = strrchr(path, '/');
    snprintf(name, size, "%.60s", slash ? slash + 1 : path);
}

static int tell_init(enum guest_mode mode, bool reboot)
{
    char name[64];
    name_of_init(name, sizeof name);
    if (strncmp(name, "systemd", 7) == 0)
        return kill(1, SIGRTMIN + (reboot ? 5 : mode == M_CONTAINER ? 3 : 4));
    if (strncmp(name, "busybox", 7) == 0)
        return kill(1, reboot ? SIGTERM : SIGUSR2);
    errno = ENOSYS;
    return -1;
}

/* An init we do not know: the guest's own program for it. */
static int run_tool(bool reboot)
{
    struct settings s;
    struct spawned made;
    char off[] = "poweroff", again[] = "reboot", *words[] = {reboot ? again : off, NULL}, *none[] = {NULL};
    if (!settings_parse(&s, NULL, 0, false))
        return -1;
    s.command = words;
    s.env = none;
    int done = spawn_command(&s, &made);
    settings_free(&s);
    if (done < 0)
        return -1;
    close(made.out);
    close(made.err);
    close(made.status);
    return 0;
}

static void arm(struct agent *a, uint32_t after_ms)
{
    struct itimerspec when = {.it_value = {after_ms / 1000, (long)(after_ms % 1000) * 1000000 + 1}};
    source_close(a->epoll, &a->timer);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (timer >= 0 && timerfd_settime(timer, 0, &when, NULL) == 0)
        source_open(a->epoll, &a->timer, timer);
    else if (timer >= 0)
        close(timer);
}

void shutdown_begin(struct agent *a, uint32_t grace_ms)
{
    if (a->ending)
        return;
    a->ending = true;
    if (a->main == NULL || a->main->exited)
        return;
    if (a->pid1)
        kill(-1, SIGTERM);
    else
        program_signal(a->main, SIGTERM);
    arm(a, grace_ms ? grace_ms : DEFAULT_GRACE_MS);
}

void shutdown_request(struct agent *a, uint32_t id, const struct settings *request)
{
    uint8_t zero[4] = {0};
    bool own = a->pid1 || a->mode == M_SOCKET;
    a->reboot = strcmp(request->action, "reboot") == 0;
    if (!own && tell_init(a->mode, a->reboot) < 0 && run_tool(a->reboot) < 0) {
        stream_fail(a, id, E_UNSUPPORTED, "no way to end this guest from within");
        return;
    }
    outbox_frame(&a->out, T_EXIT, id, zero, sizeof zero, NULL, 0);
    if (own)
        shutdown_begin(a, request->grace_ms);
}

void shutdown_pump(struct agent *a)
{
    uint64_t count;
    if (a->timer.fd < 0 || !a->timer.readable)
        return;
    if (read(a->timer.fd, &count, sizeof count) != sizeof count) {
        a->timer.readable = false;
        return;
    }
    source_close(a->epoll, &a->timer);
    if (a->last_call)
        a->over = true;
    else if (a->pid1)
        kill(-1, SIGKILL);
    else if (a->main != NULL)
        program_signal(a->main, SIGKILL);
}

bool shutdown_over(struct agent *a)
{
    if (a->over || a->link.fd < 0 || !a->synced || a->out.head == a->out.tail)
        return true;
    if (!a->last_call) {
        a->last_call = true;
        arm(a, LAST_CALL_MS);
    }
    return a->timer.fd < 0;
}
