/* Swaps a directory of a share for a link that leads out, N times, while a child reads and writes through that name.
 * usage: share_race DIRECTORY OUTSIDE SWAPS. Ends with 1, and says so, when it read what only OUTSIDE has. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void read_and_write(void)
{
    char text[64];
    for (;;) {
        int fd = open("d/secret", O_RDONLY);
        ssize_t size = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
        if (fd >= 0)
            close(fd);
        text[size > 0 ? size : 0] = 0;
        if (strstr(text, "CANARY") != NULL)
            _exit(1);
        fd = open("d/written", O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd >= 0) {
            if (write(fd, "through the share\n", 18) < 0)
                _exit(2);
            close(fd);
        }
        unlink("d/gone");
    }
}

int main(int argc, char **argv)
{
    int status, done = 0, swaps = argc == 4 ? atoi(argv[3]) : 0;
    if (swaps == 0 || chdir(argv[1]) < 0 || mkdir("d", 0755) < 0 || symlink(argv[2], "link") < 0)
        return 3;
    pid_t child = fork();
    if (child == 0)
        read_and_write();
    for (int i = 0; i < swaps; i++) { /* d is the directory, then the link, then the directory again */
        const char *out = i % 2 ? "link" : "real", *in = i % 2 ? "real" : "link";
        done += rename("d", out) == 0 && rename(in, "d") == 0;
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    if (WIFEXITED(status))
        return printf("the child read what lies outside (%d)\n", WEXITSTATUS(status)) > 0;
    return printf("%d swaps\n", done) < 0 || done != swaps;
}
