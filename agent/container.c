/* PID 1 of a container: descriptor 3 listens for the host, 4 holds the configuration. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

#define LISTENER_FD 3
#define CONFIG_FD 4

bool read_everything(int fd, uint8_t **data, size_t *size)
{
    size_t limit = MAX_REQUEST + 64;
    ssize_t got;
    *size = 0;
    *data = malloc(limit);
    while (*data != NULL && *size < limit) {
        got = read(fd, *data + *size, limit - *size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0;
        *size += (size_t)got;
    }
    return false;
}

int start_main_process(struct agent *a, const struct settings *s)
{
    struct spawned made;
    if (spawn_command(s, &made) < 0)
        return -1;
    a->main = program_new(a->epoll, &made, s->tty, false);
    if (a->main == NULL)
        return -1;
    a->main->keep = true;
    return 0;
}

/* '@' in front tells systemd's last kill that this process serves the root and is to be left to the end. */
void show_name(char **argv)
{
    size_t room = strlen(argv[0]);
    const char name[] = "@yurt-agent";
    memset(argv[0], 0, room);
    memcpy(argv[0], name, room < sizeof name - 1 ? room : sizeof name - 1);
    prctl(PR_SET_NAME, "yurt-agent");
}

static void guard_from_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    spawn_reset_oom = write(fd, "-1000", 5) == 5; /* an unprivileged host says no, which is fine */
    close(fd);
}

int serve_beside_init(struct agent *a)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    guard_from_oom();
    for (int i = 0; null >= 0 && i < 3; i++)
        dup2(null, i);
    return agent_serve(a);
}

static bool watch_listener(struct agent *a)
{
    fcntl(LISTENER_FD, F_SETFD, FD_CLOEXEC);
    return source_open(a->epoll, &a->listener, LISTENER_FD);
}

/* A terminal takes the place of the console; the agent keeps its other end. Returns the master. */
static int make_console(char *slave, size_t size)
{
    int master = open_terminal(0, 0, slave, size);
    if (master < 0)
        return -1;
    unlink("/dev/console");
    if (symlink(slave, "/dev/console") < 0)
        guest_say("cannot make /dev/console: %s", strerror(errno));
    return master;
}

/* As the kernel does it: the init writes to the console, but a login on it may make it its own terminal. */
static void take_console(const char *slave)
{
    setsid();
    int fd = open(slave, O_RDWR | O_NOCTTY);
    if (fd < 0)
        return;
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    if (fd > 2)
        close(fd);
}

static void serve_console(int master, char **argv)
{
    static struct agent agent;
    struct spawned console = {0, master, fcntl(master, F_DUPFD_CLOEXEC, 3), -1, -1};
    show_name(argv);
    setsid();
    if (!agent_init(&agent, M_CONTAINER) || !watch_listener(&agent))
        _exit(1);
    agent.console = program_new(agent.epoll, &console, true, false);
    if (agent.console == NULL)
        _exit(1);
    agent.console->overwrite = agent.console->started = true;
    _exit(serve_beside_init(&agent));
}

static int exec_init(const struct settings *s, const char *slave)
{
    size_t count = 0;
    while (s->init_arguments[count] != NULL)
        count++;
    char **words = calloc(count + 2, sizeof *words);
    if (words == NULL)
        return 126;
    words[0] = (char *)(uintptr_t)s->init;
    memcpy(words + 1, s->init_arguments, count * sizeof *words);
    take_console(slave);
    fcntl(LISTENER_FD, F_SETFD, FD_CLOEXEC);
    execve(s->init, words, s->env);
    guest_say("cannot start the image's init %s: %s", s->init, strerror(errno));
    return errno == ENOENT ? 127 : 126;
}

static int run_main(const struct settings *s)
{
    static struct agent agent;
    if (!agent_init(&agent, M_CONTAINER) || !watch_listener(&agent) || start_main_process(&agent, s) < 0) {
        guest_say("cannot start the main process: %s", strerror(errno));
        return 126;
    }
    agent.pid1 = getpid() == 1;
    return agent_serve(&agent);
}

static bool configure(struct settings *s)
{
    uint8_t *data = NULL;
    size_t size;
    bool good = read_everything(CONFIG_FD, &data, &size) && settings_parse(s, data, size, true);
    close(CONFIG_FD);
    free(data);
    if (good) {
        int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        guest_hostname(s);
        guest_network(s, false);
        if (root >= 0) {
            guest_files(root, s);
            close(root);
        }
    }
    return good;
}

int container_main(char **argv)
{
    struct settings s;
    char slave[64];
    if (!configure(&s)) {
        guest_say("the configuration on descriptor %d is malformed", CONFIG_FD);
        return 125;
    }
    if (s.init[0] == 0)
        return run_main(&s);
    int master = make_console(slave, sizeof slave);
    if (master < 0) {
        guest_say("cannot make a terminal for the console: %s", strerror(errno));
        return 125;
    }
    pid_t child = fork();
    if (child == 0)
        serve_console(master, argv);
    close(master);
    return exec_init(&s, slave);
}
