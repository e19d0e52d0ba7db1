/* How it was started decides what yurt-agent is; README.md lists the ways. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

static int usage(void)
{
    fprintf(stderr, "usage: yurt-agent --container | --service | --socket-fd N [--config-fd N] | --version\n"
                    "       (as PID 1 without arguments: boots a guest from an initrd)\n");
    return 2;
}

static int service_main(void)
{
    static struct agent agent;
    int fd = device_wait_port(-1);
    if (fd < 0) {
        fprintf(stderr, "yurt-agent: cannot open the port to the host: %s\n", strerror(errno));
        return errno == EBUSY ? 0 : 1; /* the one from the initrd serves it already */
    }
    if (!agent_init(&agent, M_VM) || !source_open(agent.epoll, &agent.link, fd))
        return 1;
    agent.is_port = true;
    link_announce(&agent);
    return agent_serve(&agent);
}

static int parse_fd(const char *text)
{
    char *end;
    long fd = strtol(text, &end, 10);
    return *text == 0 || *end != 0 || fd < 0 || fcntl((int)fd, F_GETFD) < 0 ? -1 : (int)fd;
}

/* An ordinary process on any Linux: one listening socket, and a main process when there is a configuration with one. */
static int socket_main(int listener, int config)
{
    static struct agent agent;
    struct settings s;
    uint8_t *data = NULL;
    size_t size = 0;
    if (listener < 0 || !agent_init(&agent, M_SOCKET))
        return usage();
    fcntl(listener, F_SETFD, FD_CLOEXEC);
    if (config >= 0) {
        if (!read_everything(config, &data, &size) || !settings_parse(&s, data, size, true))
            return usage();
        close(config);
        free(data);
        if (s.command[0] != NULL && start_main_process(&agent, &s) < 0)
            return 126;
    }
    if (!source_open(agent.epoll, &agent.listener, listener))
        return 1;
    return agent_serve(&agent);
}

int main(int argc, char **argv)
{
    if (argc >= 2 && strcmp(argv[1], "--version") == 0)
        return printf("yurt-agent %s protocol %d\n", AGENT_VERSION, PROTOCOL_VERSION) < 0;
    if (argc == 2 && strcmp(argv[1], "--container") == 0)
        return container_main(argv);
    if (argc == 2 && strcmp(argv[1], "--service") == 0)
        return service_main();
    if (argc == 3 && strcmp(argv[1], "--socket-fd") == 0)
        return socket_main(parse_fd(argv[2]), -1);
    if (argc == 5 && strcmp(argv[1], "--socket-fd") == 0 && strcmp(argv[3], "--config-fd") == 0)
        return socket_main(parse_fd(argv[2]), parse_fd(argv[4]));
    return getpid() == 1 ? initrd_main(argv) : usage();
}
