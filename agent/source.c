#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

bool source_open(int epoll, struct source *s, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = s};
    int flags = fcntl(fd, F_GETFL);
    s->fd = fd;
    s->readable = s->writable = true; /* the first try tells */
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        close(fd);
        s->fd = -1;
        return false;
    }
    return true;
}

void source_close(int epoll, struct source *s)
{
    if (s->fd >= 0) {
        epoll_ctl(epoll, EPOLL_CTL_DEL, s->fd, NULL);
        close(s->fd);
    }
    s->fd = -1;
    s->readable = s->writable = false;
}

void source_wait(int epoll, int timeout_ms)
{
    struct epoll_event events[64];
    int count = epoll_wait(epoll, events, 64, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct source *s = events[i].data.ptr;
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP))
            s->readable = true;
        if (events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
            s->writable = true;
    }
}
