/* A running program (or job, or the console) with the bytes that wait on their way to and from it. */
#ifndef YURT_PROGRAM_H
#define YURT_PROGRAM_H

#include "ring.h"
#include "source.h"
#include "spawn.h"

struct program {
    pid_t pid; /* 0: no process, the console */
    struct source in, out[2], status;
    struct ring input, output[2];
    bool tty, is_job;
    bool keep;      /* main process: what a host has not confirmed stays */
    bool overwrite; /* console: the newest 64 KiB count, nobody is ever blocked */
    bool input_end; /* the host closed the input */
    bool started;   /* the program runs; or `failure` says why not */
    bool failed;
    bool exited;
    int code;
    struct failure failure;
};

struct program *program_new(int epoll, const struct spawned *made, bool tty, bool is_job);
void program_free(int epoll, struct program *p);
/* Move bytes as far as they go. True when something changed. */
bool program_pump(int epoll, struct program *p);
bool program_output_ended(const struct program *p, int channel);
void program_signal(struct program *p, int number);
void program_resize(struct program *p, uint16_t rows, uint16_t columns);
void program_hang_up(struct program *p);

#endif
