/* The agent's state, and the parts that work on it. One thread, one loop, nothing waits but epoll. */
#ifndef YURT_AGENT_H
#define YURT_AGENT_H

#include "frame.h"
#include "outbox.h"
#include "program.h"
#include "settings.h"

struct stream {
    uint32_t id;
    enum stream_kind kind;
    struct program *program;
    bool opened, ended[2];
    uint32_t credit[2];
    uint64_t sent[2];   /* place in the program's output rings */
    uint64_t granted;   /* end of the input that the host may have sent, as an offset of the input ring */
};

struct agent {
    int epoll;
    enum guest_mode mode;
    bool pid1;     /* PID 1 ourselves: reaps everybody, ends with the main process */
    bool is_port;  /* `link` is a virtio port: never closed, the host comes and goes behind it */
    struct source signals, listener, link;
    struct parser parser;
    struct outbox out;
    uint8_t nonce[NONCE_SIZE];
    bool synced;
    struct stream *streams[MAX_STREAMS];
    unsigned turn; /* whose stream is served first this time */
    uint8_t *request; /* body of an OPEN that has more to come */
    size_t request_size;
    uint32_t request_stream;
    struct program *main, *console;
    bool collected; /* a host has the main process's exit code */
    bool ending;    /* shutdown was asked for: end as soon as the host has heard */
    bool reboot;
    struct source timer;  /* armed only while a shutdown waits: for the main process, then for the host to listen */
    bool last_call, over; /* the host is being given, has been given, a moment to take the last words */
};

/* agent.c: the loop */
bool agent_init(struct agent *a, enum guest_mode mode);
int agent_serve(struct agent *a); /* returns the exit code of the main process, or 0 */

/* link.c: the connection to the host */
void link_pump(struct agent *a);
void link_reset(struct agent *a); /* drop what belonged to the last connection */
void link_announce(struct agent *a);

/* request.c: what the host asks for */
void request_dispatch(struct agent *a, uint8_t type, uint32_t id, struct slice payload);

/* stream.c */
struct stream *stream_find(struct agent *a, uint32_t id);
struct stream *stream_new(struct agent *a, uint32_t id, enum stream_kind kind, uint32_t window);
void stream_fail(struct agent *a, uint32_t id, enum error_code code, const char *text);
void stream_close(struct agent *a, struct stream *s); /* hang up what belongs to it and forget it */
void stream_input(struct agent *a, struct stream *s, const uint8_t *data, size_t size);
bool streams_pump(struct agent *a);

/* shutdown.c */
void shutdown_begin(struct agent *a, uint32_t grace_ms);
void shutdown_request(struct agent *a, uint32_t id, const struct settings *request);
void shutdown_pump(struct agent *a);
bool shutdown_over(struct agent *a); /* the main process has ended; has the host heard, or had its time? */

#endif
