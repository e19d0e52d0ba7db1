/* Stands in for a program that was taken over from inside: tries what no guest may do, and prints how each try ended.
 *
 * usage: probe CANARY DISK QMP_SOCKET HOST_PID ABSTRACT_NAME [flood]
 * One line per try: its name, and `ok` or the error's name. Everything is harmless where it is allowed. `flood` writes
 * to standard error for as long as it can, up to 256 MiB, last of all; the status then is the error's number.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <netinet/in.h>
#include <arpa/inet.h>

extern char **environ;

static void say(const char *name, const char *how) {
    printf("%s %s\n", name, how);
}

static void told(const char *name, long result) {
    say(name, result < 0 ? strerrorname_np(errno) : "ok");
}

#define TRY(name, call) do { errno = 0; told(name, (long)(call)); } while (0)
#define CALL(name, number, ...) TRY(name, syscall(number, ##__VA_ARGS__))

static long closing(long fd) {
    if (fd >= 0)
        close((int)fd);
    return fd;
}

static long opened(const char *path, int flags) {
    return closing(open(path, flags, 0600));
}

static long family(int domain, int type, int protocol) {
    return closing(socket(domain, type, protocol));
}

static long connected(const char *path, int abstract) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return -1;
    memcpy(address.sun_path + abstract, path, length);
    long result = connect(fd, (struct sockaddr *)&address,
                          (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)abstract + length));
    int kept = errno;
    close(fd);
    errno = kept;
    return result;
}

/* Run it in a child of its own and say how that ended. */
static void apart(const char *name, long (*work)(void)) {
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        errno = 0;
        _exit(work() < 0 ? errno : 0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("%s SIG%s\n", name, sigabbrev_np(WTERMSIG(status)));
    else
        say(name, WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "ok");
}

static long x32_call(void) {
    return syscall(0x40000000 + 39);
}

static long old_abi_call(void) {
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20) : "memory"); /* getpid of the 32-bit ABI */
    return result;
}

static long traced(void) {
    return ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static long many_descriptors(void) {
    for (int count = 0; count < 100000; count++)
        if (open("/dev/null", O_RDONLY) < 0)
            return -1;
    return 0;
}

static long fork_bomb(void) {
    static pid_t made[100000];
    int count = 0, kept;
    for (; count < 100000; count++) {
        made[count] = fork();
        if (made[count] == 0) {
            pause();
            _exit(0);
        }
        if (made[count] < 0)
            break;
    }
    kept = errno;
    for (int at = 0; at < count; at++)
        kill(made[at], SIGKILL);
    while (waitpid(-1, NULL, 0) > 0)
        ;
    errno = kept;
    return count < 100000 ? -1 : 0;
}

static long flood_the_log(void) {
    static char text[65536];
    memset(text, 'x', sizeof text);
    for (int count = 0; count < 4096; count++)
        if (write(2, text, sizeof text) < 0)
            return -1;
    return 0;
}

static long raised(int resource, rlim_t wanted) {
    struct rlimit limit = {wanted, wanted};
    return setrlimit(resource, &limit);
}

static long all_capabilities(void) {
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[2] = {{~0U, ~0U, ~0U}, {511, 511, 511}};
    return syscall(SYS_capset, &header, data);
}

static long executed(const char *path) {
    char *argv[] = {(char *)path, NULL};
    return execve(path, argv, argv + 1);
}

static long namespaces(unsigned long flags) {
    long child = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (child == 0)
        _exit(0);
    if (child > 0)
        waitpid((pid_t)child, NULL, 0);
    return child;
}

static void files(const char *canary, const char *disk) {
    TRY("open_canary", opened(canary, O_RDONLY));
    TRY("open_other_disk", opened(disk, O_RDWR));
    TRY("open_canary_by_dots", opened("../../../../../../tmp/canary", O_RDONLY));
    TRY("open_shadow", opened("/etc/shadow", O_RDONLY));
    TRY("open_hosts_root", opened("/proc/1/root/etc/shadow", O_RDONLY));
    TRY("open_own_memory", opened("/proc/self/mem", O_RDWR));
    TRY("open_sysrq", opened("/proc/sysrq-trigger", O_WRONLY));
    TRY("open_sys_power", opened("/sys/power/state", O_WRONLY));
    TRY("open_dev_mem", opened("/dev/mem", O_RDWR));
    TRY("open_dev_kmsg", opened("/dev/kmsg", O_RDWR));
    TRY("open_block_device", opened("/dev/vda", O_RDWR));
    TRY("open_kvm", opened("/dev/kvm", O_RDWR));
    TRY("open_tun", opened("/dev/net/tun", O_RDWR));
    TRY("open_vhost", opened("/dev/vhost-net", O_RDWR));
    TRY("open_fuse", opened("/dev/fuse", O_RDWR));
    TRY("open_loop_control", opened("/dev/loop-control", O_RDWR));
    TRY("open_terminal_master", opened("/dev/ptmx", O_RDWR));
    TRY("write_libraries", opened("/usr/lib64/planted", O_WRONLY | O_CREAT));
    TRY("write_program", opened("/bin/sh", O_WRONLY));
    TRY("write_device_directory", opened("/dev/planted", O_WRONLY | O_CREAT));
    CALL("make_block_device", SYS_mknodat, AT_FDCWD, "/dev/disk", S_IFBLK | 0600, 0x0800);
    CALL("make_memory_device", SYS_mknodat, AT_FDCWD, "/mem", S_IFCHR | 0600, 0x0101);
    CALL("open_by_handle", SYS_open_by_handle_at, AT_FDCWD, NULL, O_RDONLY);
    CALL("name_to_handle", SYS_name_to_handle_at, AT_FDCWD, "/", NULL, NULL, 0);
    TRY("change_root", chroot("/"));
}

static void sockets(const char *qmp, const char *abstract) {
    TRY("connect_other_monitor", connected(qmp, 0));
    TRY("connect_api", connected("/run/yurt/yurt.sock", 0));
    TRY("connect_system_bus", connected("/run/dbus/system_bus_socket", 0));
    TRY("connect_hosts_abstract_socket", connected(abstract, 1));
    TRY("socket_inet", family(AF_INET, SOCK_STREAM, 0));
    TRY("socket_inet6", family(AF_INET6, SOCK_STREAM, 0));
    TRY("socket_raw", family(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    TRY("socket_packet", family(AF_PACKET, SOCK_RAW, 0));
    TRY("socket_netlink", family(AF_NETLINK, SOCK_RAW, 0));
    TRY("socket_vsock", family(AF_VSOCK, SOCK_STREAM, 0));
    TRY("socket_crypto", family(AF_ALG, SOCK_SEQPACKET, 0));
}

static void processes(pid_t host) {
    CALL("pid_is_one", SYS_getpid);
    TRY("kill_hosts_process", kill(host, SIGKILL));
    TRY("kill_parent", getppid() > 0 ? kill(getppid(), SIGKILL) : (errno = ESRCH, -1));
    CALL("pidfd_of_hosts_process", SYS_pidfd_open, host, 0);
    CALL("pidfd_getfd", SYS_pidfd_getfd, 0, 0, 0);
    TRY("ptrace_attach", ptrace(PTRACE_ATTACH, host, 0, 0));
    apart("ptrace_traceme", traced);
    CALL("read_other_memory", SYS_process_vm_readv, getpid(), NULL, 0, NULL, 0, 0);
    CALL("write_other_memory", SYS_process_vm_writev, getpid(), NULL, 0, NULL, 0, 0);
    CALL("kcmp", SYS_kcmp, getpid(), getpid(), 0, 0, 0);
    CALL("process_madvise", SYS_process_madvise, 0, NULL, 0, 0, 0);
    TRY("realtime_priority", sched_setscheduler(0, SCHED_FIFO, &(struct sched_param){1}));
    TRY("higher_priority", setpriority(PRIO_PROCESS, 0, -10));
}

static void privileges(void) {
    TRY("setuid_root", setuid(0));
    TRY("setgid_root", setgid(0));
    TRY("setresuid_root", setresuid(0, 0, 0));
    TRY("join_group", syscall(SYS_setgroups, 1, &(gid_t){0}));
    TRY("capset_all", all_capabilities());
    TRY("raise_ambient", prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0));
    TRY("clear_no_new_privileges", prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    TRY("run_su", executed("/usr/bin/su"));
    CALL("run_by_descriptor", SYS_execveat, 1, "", NULL, NULL, AT_EMPTY_PATH);
    TRY("unshare_user", unshare(CLONE_NEWUSER));
    TRY("unshare_mounts", unshare(CLONE_NEWNS));
    TRY("unshare_network", unshare(CLONE_NEWNET));
    TRY("unshare_pids", unshare(CLONE_NEWPID));
    TRY("clone_user", namespaces(CLONE_NEWUSER));
    TRY("clone_mounts", namespaces(CLONE_NEWNS));
    TRY("clone_network", namespaces(CLONE_NEWNET));
    CALL("clone3", SYS_clone3, NULL, 0);
    TRY("setns", setns(0, CLONE_NEWNET));
}

static void mounts(void) {
    TRY("mount_memory", mount("none", "/usr", "tmpfs", 0, NULL));
    TRY("mount_processes", mount("none", "/usr", "proc", 0, NULL));
    TRY("mount_bind", mount("/usr", "/dev", NULL, MS_BIND, NULL));
    TRY("remount_writable", mount("none", "/", NULL, MS_REMOUNT | MS_BIND, NULL));
    TRY("unmount", umount2("/usr", MNT_DETACH));
    CALL("pivot_root", SYS_pivot_root, "/", "/");
    CALL("fsopen", SYS_fsopen, "tmpfs", 0);
    CALL("open_tree", SYS_open_tree, AT_FDCWD, "/", 1);
    CALL("move_mount", SYS_move_mount, AT_FDCWD, "/usr", AT_FDCWD, "/dev", 0);
    CALL("mount_setattr", SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0);
}

static void kernel(void) {
    struct timeval now;
    struct timespec precise;
    gettimeofday(&now, NULL);
    clock_gettime(CLOCK_REALTIME, &precise);
    CALL("bpf", SYS_bpf, 0, NULL, 0);
    CALL("keyctl", SYS_keyctl, 0, -3, 0, 0, 0);
    CALL("add_key", SYS_add_key, "user", "x", "x", 1, -3);
    CALL("request_key", SYS_request_key, "user", "x", NULL, 0);
    CALL("userfaultfd", SYS_userfaultfd, 1);
    CALL("perf_event_open", SYS_perf_event_open, NULL, 0, -1, -1, 0);
    CALL("io_uring_setup", SYS_io_uring_setup, 1, NULL);
    CALL("io_uring_enter", SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0);
    CALL("kexec_load", SYS_kexec_load, 0, 0, NULL, 0);
    CALL("kexec_file_load", SYS_kexec_file_load, -1, -1, 0, NULL, 0);
    CALL("init_module", SYS_init_module, NULL, 0, "");
    CALL("finit_module", SYS_finit_module, -1, "", 0);
    CALL("delete_module", SYS_delete_module, "none", 0);
    CALL("reboot", SYS_reboot, 0, 0, 0, NULL); /* without its magic numbers it does nothing anywhere */
    CALL("swapon", SYS_swapon, "/none", 0);
    CALL("swapoff", SYS_swapoff, "/none");
    CALL("quotactl", SYS_quotactl, 0x800000, NULL, 0, NULL);
    CALL("accounting", SYS_acct, "/none");
    TRY("settimeofday", settimeofday(&now, NULL));
    TRY("clock_settime", clock_settime(CLOCK_REALTIME, &precise));
    CALL("adjtimex", SYS_adjtimex, NULL);
    TRY("sethostname", sethostname("x", 1));
    TRY("setdomainname", setdomainname("x", 1));
    CALL("kernel_log", SYS_syslog, 10, NULL, 0);
    CALL("iopl", SYS_iopl, 3);
    CALL("ioperm", SYS_ioperm, 0x80, 1, 1);
    CALL("modify_ldt", SYS_modify_ldt, 0, NULL, 0);
    CALL("personality", SYS_personality, 0x0040000);
    CALL("fanotify_init", SYS_fanotify_init, 0, 0);
    CALL("move_pages", SYS_move_pages, 0, 0, NULL, NULL, NULL, 0);
    CALL("migrate_pages", SYS_migrate_pages, 0, 0, NULL, NULL);
    CALL("vhangup", SYS_vhangup);
    CALL("a_call_newer_than_the_table", 462);
    TRY("type_for_others", ioctl(0, TIOCSTI, "x"));
    apart("x32_call", x32_call);
    apart("32_bit_call", old_abi_call);
}

static void resources(void) {
    TRY("raise_files", raised(RLIMIT_NOFILE, 1 << 30));
    TRY("raise_core", raised(RLIMIT_CORE, RLIM_INFINITY));
    TRY("lock_memory", mlock(environ, 1));
    TRY("message_queue", closing(syscall(SYS_mq_open, "x", O_RDWR | O_CREAT, 0600, NULL)));
    apart("many_descriptors", many_descriptors);
    apart("fork_bomb", fork_bomb);
    say("environment", environ[0] == NULL ? "empty" : environ[0]);
    int extra = 0;
    for (int fd = 3; fd < 1024; fd++)
        extra += fcntl(fd, F_GETFD) >= 0;
    printf("inherited_descriptors %d\n", extra);
}

int main(int argc, char **argv) {
    if (argc < 6)
        return 2;
    files(argv[1], argv[2]);
    sockets(argv[3], argv[5]);
    processes((pid_t)atoi(argv[4]));
    privileges();
    mounts();
    kernel();
    resources();
    printf("end ok\n");
    fflush(stdout);
    if (argc > 6 && flood_the_log() < 0)
        return errno;
    return 0;
}
