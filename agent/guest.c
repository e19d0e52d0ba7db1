#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "jobs.h"
#include "names.h"

#define HOSTS_LIMIT (256 * 1024)

void guest_say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    dprintf(2, "yurt-agent: ");
    vdprintf(2, format, arguments);
    dprintf(2, "\n");
    va_end(arguments);
}

void guest_hostname(const struct settings *s)
{
    if (s->hostname[0] != 0 && sethostname(s->hostname, strlen(s->hostname)) < 0 && errno != EPERM)
        guest_say("cannot set the host name: %s", strerror(errno));
}

/* Replace a file in /etc by a new one. A link of that name is replaced too, never followed. */
static void write_file(int etc, const char *name, const char *text, size_t size, mode_t mode)
{
    static const char temporary[] = ".yurt-new";
    unlinkat(etc, temporary, 0);
    int fd = openat(etc, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        guest_say("cannot write /etc/%s: %s", name, strerror(errno));
        return;
    }
    bool whole = write(fd, text, size) == (ssize_t)size;
    fchmod(fd, mode);
    close(fd);
    /* where the runtime has mounted a file of its own, that one stays */
    if (!whole || renameat(etc, temporary, etc, name) < 0)
        unlinkat(etc, temporary, 0);
}

static char *read_file(int etc, const char *name)
{
    struct stat st;
    char *text = calloc(1, HOSTS_LIMIT + 1);
    int fd = openat(etc, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (text != NULL && fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
        size_t have = 0;
        ssize_t got;
        while (have < HOSTS_LIMIT && (got = read(fd, text + have, HOSTS_LIMIT - have)) > 0)
            have += (size_t)got;
    }
    if (fd >= 0)
        close(fd);
    return text;
}

static bool names_host(const char *line, const char *name)
{
    char copy[1024], *word, *rest = copy;
    snprintf(copy, sizeof copy, "%.*s", (int)strcspn(line, "#\n"), line);
    if (strsep(&rest, " \t") == NULL)
        return false;
    while ((word = strsep(&rest, " \t")) != NULL)
        if (strcmp(word, name) == 0)
            return true;
    return false;
}

static void write_hosts(int etc, const char *hostname)
{
    char *old = read_file(etc, "hosts"), *text = NULL;
    bool local = false, own = false;
    if (old == NULL)
        return;
    for (const char *line = old; *line; line = strchrnul(line, '\n') + (*strchrnul(line, '\n') == '\n')) {
        local = local || names_host(line, "localhost");
        own = own || names_host(line, hostname);
    }
    if (!own) {
        int size = asprintf(&text, "%s%s%s127.0.1.1\t%s\n", local ? "" : "127.0.0.1\tlocalhost\n::1\tlocalhost\n", old,
                            old[0] && old[strlen(old) - 1] != '\n' ? "\n" : "", hostname);
        if (size > 0)
            write_file(etc, "hosts", text, (size_t)size, 0644);
        free(text);
    }
    free(old);
}

static void write_machine_id(int etc, const char *id)
{
    char *old = read_file(etc, "machine-id"), line[64];
    if (old != NULL && (old[0] == 0 || old[0] == '\n' || strncmp(old, "uninitialized", 13) == 0)) {
        int size = snprintf(line, sizeof line, "%.32s\n", id);
        write_file(etc, "machine-id", line, (size_t)size, 0444);
    }
    free(old);
}

void guest_files(int root, const struct settings *s)
{
    char text[512];
    int size, etc = open_beneath(root, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (etc < 0 && errno == ENOENT && mkdirat(root, "etc", 0755) == 0)
        etc = open_beneath(root, "etc", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (etc < 0)
        return;
    if (s->hostname[0] != 0) {
        size = snprintf(text, sizeof text, "%.255s\n", s->hostname);
        write_file(etc, "hostname", text, (size_t)size, 0644);
        write_hosts(etc, s->hostname);
    }
    if (s->dns[0] != 0) {
        size = s->search[0] == 0 ? 0 : snprintf(text, sizeof text, "search %.200s\n", s->search);
        size += snprintf(text + size, sizeof text - (size_t)size, "nameserver %.200s\n", s->dns);
        write_file(etc, "resolv.conf", text, (size_t)size, 0644);
    }
    if (s->machine_id[0] != 0)
        write_machine_id(etc, s->machine_id);
    close(etc);
}

void guest_mounts(void)
{
    static const struct {
        const char *type, *at, *options;
        unsigned long flags;
    } wanted[] = {
        {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC},
        {"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
        {"devpts", "/dev/pts", "gid=5,mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
        {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
        {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
    };
    struct stat here, above;
    char parent[64];
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        mkdir(wanted[i].at, 0755);
        snprintf(parent, sizeof parent, "%s/..", wanted[i].at);
        if (stat(wanted[i].at, &here) == 0 && stat(parent, &above) == 0 && here.st_dev == above.st_dev)
            mount(wanted[i].type, wanted[i].at, wanted[i].type, wanted[i].flags, wanted[i].options);
    }
    if (symlink("/proc/self/fd", "/dev/fd") == 0) {
        const char *links[][2] = {{"/proc/self/fd/0", "/dev/stdin"}, {"/proc/self/fd/1", "/dev/stdout"},
                                  {"/proc/self/fd/2", "/dev/stderr"}};
        for (int i = 0; i < 3; i++)
            if (symlink(links[i][0], links[i][1]) < 0)
                break;
    }
}

int job_configure(const struct settings *s)
{
    int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
    guest_hostname(s);
    guest_wait_nics(s);
    guest_network(s, false);
    if (root >= 0)
        guest_files(root, s);
    return 0;
}
