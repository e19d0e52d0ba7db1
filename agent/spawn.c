#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "users.h"

#define STATUS_FD 3
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

bool spawn_reset_oom;

void child_fail(enum error_code code, int number, const char *format, ...)
{
    struct failure f = {.code = code, .number = (uint32_t)number};
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(f.text, sizeof f.text, format, arguments);
    va_end(arguments);
    if (number != 0 && used >= 0 && (size_t)used < sizeof f.text)
        snprintf(f.text + used, sizeof f.text - (size_t)used, ": %s", strerror(number));
    ssize_t done = write(STATUS_FD, &f, sizeof f); /* smaller than PIPE_BUF, so it is never cut */
    _exit(done == sizeof f ? 127 : 126);
}

int open_terminal(uint16_t rows, uint16_t columns, char *slave, size_t size)
{
    struct winsize window = {.ws_row = rows ? rows : 24, .ws_col = columns ? columns : 80};
    int number, unlock = 0;
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0)
        return -1;
    if (ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &number) < 0) {
        close(master);
        return -1;
    }
    ioctl(master, TIOCSWINSZ, &window);
    snprintf(slave, size, "/dev/pts/%d", number);
    return master;
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int number = 1; number < 65; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static void reset_oom(void)
{
    int fd = spawn_reset_oom ? open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (write(fd, "0", 1) != 1)
            errno = 0; /* best effort: the program only dies a little later than it should */
        close(fd);
    }
}

/* Move our five descriptors out of the way, then onto 0, 1, 2 and STATUS_FD, and close everything else. */
static void place_descriptors(const int wanted[4])
{
    int moved[4];
    for (int i = 0; i < 4; i++) {
        moved[i] = fcntl(wanted[i], F_DUPFD_CLOEXEC, 10);
        if (moved[i] < 0)
            _exit(126);
    }
    for (int i = 0; i < 4; i++)
        dup2(moved[i], i);
    fcntl(STATUS_FD, F_SETFD, FD_CLOEXEC);
    syscall(SYS_close_range, STATUS_FD + 1, ~0U, 0);
}

static const char *variable(char **env, const char *name)
{
    size_t size = strlen(name);
    for (; *env != NULL; env++)
        if (strncmp(*env, name, size) == 0 && (*env)[size] == '=')
            return *env + size + 1;
    return NULL;
}

static char *joined(const char *name, const char *value)
{
    char *text = NULL;
    if (asprintf(&text, "%s=%s", name, value) < 0)
        child_fail(E_IO, ENOMEM, "cannot prepare the environment");
    return text;
}

/* The requested environment, completed with what every program expects. */
static char **make_environment(const struct settings *s, const struct identity *who)
{
    size_t count = 0;
    while (s->env[count] != NULL)
        count++;
    char **env = calloc(count + 8, sizeof *env);
    if (env == NULL)
        child_fail(E_IO, ENOMEM, "cannot prepare the environment");
    memcpy(env, s->env, count * sizeof *env);
    const char *defaults[][2] = {
        {"PATH", DEFAULT_PATH}, {"HOME", who->home},   {"USER", who->name},
        {"LOGNAME", who->name}, {"SHELL", who->shell}, {"TERM", s->tty ? "xterm" : ""},
    };
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++)
        if (defaults[i][1][0] && variable(s->env, defaults[i][0]) == NULL)
            env[count++] = joined(defaults[i][0], defaults[i][1]);
    return env;
}

static void become(const struct settings *s, const struct identity *who)
{
    if (s->user[0] == 0 || (geteuid() != 0 && who->uid == geteuid()))
        return;
    if (setgroups(who->group_count, who->groups) < 0 || setresgid(who->gid, who->gid, who->gid) < 0 ||
        setresuid(who->uid, who->uid, who->uid) < 0)
        child_fail(E_DENIED, errno, "cannot become user `%s`", s->user);
}

static void enter_directory(const struct settings *s, const struct identity *who)
{
    if (s->workdir[0] != 0) {
        if (chdir(s->workdir) < 0)
            child_fail(E_NO_DIRECTORY, errno, "cannot use `%.256s` as working directory", s->workdir);
    } else if (chdir(who->home) < 0 && chdir("/") < 0) {
        child_fail(E_NO_DIRECTORY, errno, "cannot use `/` as working directory");
    }
}

/* A script without a first line that names its interpreter is run by the shell, as everywhere. */
static void run_script(const char *path, char **argv, char **env)
{
    size_t count = 0;
    while (argv[count] != NULL)
        count++;
    char **words = calloc(count + 2, sizeof *words);
    if (words == NULL)
        return;
    words[0] = "sh";
    words[1] = (char *)(uintptr_t)path;
    memcpy(words + 2, argv + 1, (count - 1) * sizeof *words);
    execve("/bin/sh", words, env);
}

static int try_exec(const char *path, char **argv, char **env)
{
    execve(path, argv, env);
    if (errno == ENOEXEC)
        run_script(path, argv, env);
    return errno;
}

static void report_exec(const char *name, const char *path, int number)
{
    if (number == ENOENT && access(path, F_OK) == 0)
        child_fail(E_NOT_EXECUTABLE, 0, "cannot run `%.256s`: its interpreter or loader is missing", name);
    if (number == ENOENT || number == ENOTDIR)
        child_fail(E_NOT_FOUND, 0, "no program `%.256s` in the guest", name);
    child_fail(E_NOT_EXECUTABLE, number, "cannot run `%.256s`", name);
}

static void exec_by_path(char **argv, char **env)
{
    const char *name = argv[0], *directory = variable(env, "PATH");
    char path[MAX_REQUEST / 64];
    int worst = ENOENT;
    if (strchr(name, '/') != NULL)
        report_exec(name, name, try_exec(name, argv, env));
    while (name[0] != 0 && directory != NULL) {
        const char *end = strchrnul(directory, ':');
        int size = (int)(end - directory);
        if (snprintf(path, sizeof path, "%.*s/%s", size ? size : 1, size ? directory : ".", name) < (int)sizeof path) {
            int number = try_exec(path, argv, env);
            if (number == ENOENT && access(path, F_OK) == 0)
                report_exec(name, path, number);
            if (number != ENOENT && number != ENOTDIR)
                worst = number;
        }
        directory = *end ? end + 1 : NULL;
    }
    report_exec(name, name, worst);
}

static void take_terminal(const struct settings *s, const struct identity *who)
{
    ioctl(0, TIOCSCTTY, 0);
    if (s->user[0] != 0 && geteuid() == 0 && fchown(0, who->uid, (gid_t)-1) == 0)
        fchmod(0, 0620);
}

static void run_command(const struct settings *s)
{
    struct identity who;
    reset_signals();
    reset_oom();
    umask(022);
    if (!identity_find(s->user, "/etc", &who) && s->user[0] != 0)
        child_fail(E_NO_USER, 0, "no user `%.128s` in the guest", s->user);
    if (s->tty)
        take_terminal(s, &who);
    become(s, &who);
    enter_directory(s, &who);
    if (s->command[0] == NULL)
        child_fail(E_NOT_FOUND, 0, "no program was named");
    exec_by_path(s->command, make_environment(s, &who));
}

static void close_all(int *fds, int count)
{
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* The agent's end and the child's end of each descriptor: in, out, err, status. */
struct ends {
    int ours[4], theirs[4];
};

static int make_pipe(struct ends *e, int index, bool we_read)
{
    int both[2];
    if (pipe2(both, O_CLOEXEC) < 0)
        return -1;
    e->ours[index] = both[we_read ? 0 : 1];
    e->theirs[index] = both[we_read ? 1 : 0];
    return 0;
}

static int make_terminal(struct ends *e, const struct settings *s)
{
    char slave[64];
    e->ours[0] = open_terminal(s->rows, s->columns, slave, sizeof slave);
    if (e->ours[0] < 0)
        return -1;
    e->ours[1] = fcntl(e->ours[0], F_DUPFD_CLOEXEC, 3);
    e->theirs[0] = open(slave, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return e->ours[1] < 0 || e->theirs[0] < 0 ? -1 : 0;
}

static int make_ends(struct ends *e, const struct settings *s, bool tty, bool open_stdin)
{
    memset(e, 0xff, sizeof *e); /* all -1 */
    if (make_pipe(e, 3, true) < 0)
        return -1;
    if (tty)
        return make_terminal(e, s);
    if (open_stdin ? make_pipe(e, 0, false) < 0 : (e->theirs[0] = open("/dev/null", O_RDONLY | O_CLOEXEC)) < 0)
        return -1;
    return make_pipe(e, 1, true) < 0 || make_pipe(e, 2, true) < 0 ? -1 : 0;
}

static int start(job run, const struct settings *s, bool tty, bool open_stdin, struct spawned *made)
{
    struct ends e;
    pid_t pid = -1;
    if (make_ends(&e, s, tty, open_stdin) == 0)
        pid = fork();
    if (pid == 0) {
        int second = tty ? e.theirs[0] : e.theirs[1], third = tty ? e.theirs[0] : e.theirs[2];
        setsid();
        place_descriptors((int[4]){e.theirs[0], second, third, e.theirs[3]});
        if (run == NULL)
            run_command(s);
        else
            _exit(run(s));
        _exit(127);
    }
    int number = errno;
    close_all(e.theirs, 4);
    if (pid < 0)
        close_all(e.ours, 4);
    *made = (struct spawned){pid, e.ours[0], e.ours[1], e.ours[2], e.ours[3]};
    errno = number;
    return pid < 0 ? -1 : 0;
}

int spawn_command(const struct settings *s, struct spawned *made)
{
    return start(NULL, s, s->tty, s->stdin_open, made);
}

int spawn_job(job run, const struct settings *s, struct spawned *made)
{
    return start(run, s, false, true, made);
}
