/* PID 1 of the initrd: from the kernel's hands into the guest's own root. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

#define ROOT_TIMEOUT_S 60

static void power_off(bool again) __attribute__((noreturn));
static void power_off(bool again)
{
    sync();
    reboot(again ? RB_AUTOBOOT : RB_POWER_OFF);
    for (;;)
        pause();
}

static void give_up(const char *what, const char *detail, int number) __attribute__((noreturn));
static void give_up(const char *what, const char *detail, int number)
{
    guest_say("cannot boot: %s %s%s%s", what, detail, number ? ": " : "", number ? strerror(number) : "");
    power_off(false);
}

static void load_module(const char *name)
{
    char path[300];
    snprintf(path, sizeof path, "/yurt/%.255s", name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST && errno != ENODEV))
        guest_say("cannot load %s: %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    unlink(path);
}

static void load_modules(void)
{
    char line[300];
    FILE *list = fopen("/yurt/modules", "re");
    while (list != NULL && fgets(line, sizeof line, list) != NULL) {
        line[strcspn(line, "\r\n")] = 0;
        if (line[0] != 0)
            load_module(line);
    }
    if (list != NULL)
        fclose(list);
}

static void mount_kernel_files(void)
{
    static const char *const wanted[][2] = {{"devtmpfs", "/dev"}, {"proc", "/proc"}, {"sysfs", "/sys"}};
    for (size_t i = 0; i < 3; i++) {
        mkdir(wanted[i][1], 0755);
        if (mount(wanted[i][0], wanted[i][1], wanted[i][0], MS_NOSUID, NULL) < 0 && errno != EBUSY)
            give_up("mounting", wanted[i][1], errno);
    }
    mkdir("/dev/pts", 0755); /* terminals for programs that come before the image's init has mounted anything */
    if (mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "gid=5,mode=0620,ptmxmode=0666") < 0 && errno != EBUSY)
        guest_say("no terminals yet: %s", strerror(errno));
    if (fcntl(2, F_GETFD) < 0) {
        int fd = open("/dev/console", O_RDWR);
        for (int i = 0; fd >= 0 && i < 3; i++)
            dup2(fd, i);
    }
}

static void read_config(struct settings *s)
{
    uint8_t *data = NULL;
    size_t size = 0;
    int fd = open("/yurt/config", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        give_up("reading", "/yurt/config", errno);
    if (!read_everything(fd, &data, &size) || !settings_parse(s, data, size, true))
        give_up("reading", "/yurt/config: it is malformed", 0);
    close(fd);
    free(data);
    unlink("/yurt/config");
    unlink("/yurt/modules");
}

static int mount_root(const struct settings *s)
{
    char device[300];
    mkdir("/root", 0755);
    if (device_wait_root(s->root_device, device, sizeof device, ROOT_TIMEOUT_S) < 0)
        give_up("no disk", s->root_device, ETIMEDOUT);
    if (mount(device, "/root", "ext4", 0, NULL) < 0)
        give_up("mounting the root disk", device, errno);
    int root = open("/root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        give_up("opening the root disk", device, errno);
    if (!guest_grow(device, root))
        guest_say("cannot grow the root file system: %s", strerror(errno));
    return root;
}

static void move_mount_into(int root, const char *name)
{
    char to[64];
    struct stat st;
    snprintf(to, sizeof to, "/root/%s", name);
    mkdirat(root, name, 0755);
    if (fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(st.st_mode))
        give_up("the image has no directory", name, 0);
    char from[64];
    snprintf(from, sizeof from, "/%s", name);
    if (mount(from, to, NULL, MS_MOVE, NULL) < 0)
        give_up("moving", from, errno);
}

static void enter_root(int root)
{
    move_mount_into(root, "dev");
    move_mount_into(root, "proc");
    move_mount_into(root, "sys");
    unlink("/init"); /* its pages stay for as long as we run; the rest of the initrd is memory won back */
    if (fchdir(root) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0 || chdir("/") < 0)
        give_up("entering", "the root disk", errno);
}

/* Without its data a guest would write to its root disk what belongs elsewhere: then it does not boot. */
static void mount_volumes(const struct settings *s)
{
    int number = 0;
    const char *failed = guest_mount(s, &number);
    if (failed != NULL)
        give_up("mounting", failed, number);
}

static enum guest_mode mode_of(const struct settings *s)
{
    return strcmp(s->mode, "vm") == 0 ? M_VM : M_MICROVM;
}

static void open_port(struct agent *a, int timeout_s)
{
    int fd = device_wait_port(timeout_s);
    a->is_port = true;
    if (fd < 0)
        return;
    source_open(a->epoll, &a->link, fd);
    link_announce(a);
}

static void serve_port(const struct settings *s, char **argv)
{
    static struct agent agent;
    show_name(argv);
    setsid();
    if (!agent_init(&agent, mode_of(s)))
        _exit(1);
    open_port(&agent, -1);
    _exit(agent.link.fd >= 0 ? serve_beside_init(&agent) : 0);
}

static void exec_init(const struct settings *s)
{
    size_t count = 0;
    while (s->init_arguments[count] != NULL)
        count++;
    char **words = calloc(count + 2, sizeof *words);
    if (words == NULL)
        give_up("starting", s->init, ENOMEM);
    words[0] = (char *)(uintptr_t)s->init;
    memcpy(words + 1, s->init_arguments, count * sizeof *words);
    execve(s->init, words, s->env);
    give_up("starting the image's init", s->init, errno);
}

static void run_as_main(const struct settings *s)
{
    static struct agent agent;
    guest_mounts();
    if (!agent_init(&agent, mode_of(s)))
        give_up("starting", "the agent", errno);
    agent.pid1 = true;
    if (start_main_process(&agent, s) < 0)
        give_up("starting", "the main process", errno);
    open_port(&agent, ROOT_TIMEOUT_S);
    if (agent.link.fd < 0)
        give_up("no port to the host", "", ETIMEDOUT);
    agent_serve(&agent);
    kill(-1, SIGKILL);
    power_off(agent.reboot);
}

int initrd_main(char **argv)
{
    struct settings s;
    mount_kernel_files();
    load_modules();
    read_config(&s);
    int root = mount_root(&s);
    guest_hostname(&s);
    guest_network(&s, true);
    guest_files(root, &s);
    enter_root(root);
    close(root);
    mount_volumes(&s);
    if (s.init[0] == 0)
        run_as_main(&s);
    pid_t child = fork();
    if (child == 0)
        serve_port(&s, argv);
    exec_init(&s);
    return 1;
}
