/* Starts programs in the guest. All slow or blocking work happens in the child, so the agent never waits. */
#ifndef YURT_SPAWN_H
#define YURT_SPAWN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto.h"
#include "settings.h"

struct spawned {
    pid_t pid;
    int in, out, err; /* our ends; for a terminal `in` and `out` are the master, `err` is -1 */
    int status;       /* one failure report, or end of file when all went well */
};

struct failure {
    uint32_t code; /* enum error_code */
    uint32_t number; /* errno */
    char text[ERROR_TEXT];
};

/* A job that runs in a forked child of the agent: its input and output are descriptors 0 and 1, it reports with job_fail. */
typedef int (*job)(const struct settings *s);

/* Start `s->command`; 0, or -1 and errno when no process could be made. `open_stdin` false: /dev/null. */
int spawn_command(const struct settings *s, struct spawned *made);
int spawn_job(job run, const struct settings *s, struct spawned *made);

/* In the child only: report the failure to the agent and end. */
void child_fail(enum error_code code, int number, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));

/* Programs started from now on get a normal oom_score_adj although the agent has a low one. */
extern bool spawn_reset_oom;

int open_terminal(uint16_t rows, uint16_t columns, char *slave, size_t size); /* master, or -1 */

#endif
