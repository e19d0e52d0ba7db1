/* The numbers of the wire protocol; protocol.md explains them. */
#ifndef YURT_PROTO_H
#define YURT_PROTO_H

#define PROTOCOL_VERSION 1
#define AGENT_VERSION "0.1.0"

#define FRAME_MAGIC 0x59
#define FRAME_END 0xA5
#define HEADER_SIZE 12
#define MAX_TO_AGENT (16 * 1024)  /* payload bytes of one frame from the host */
#define MAX_TO_HOST (32 * 1024)   /* payload bytes of one frame from the agent */
#define MAX_REQUEST (1024 * 1024) /* body of one OPEN, over all its frames */
#define MAX_STREAMS 64
#define WINDOW (64 * 1024) /* bytes of input a stream takes ahead of its program */
#define NONCE_SIZE 16
#define ERROR_TEXT 512

enum frame_type {
    T_SYNC = 1,
    T_OPEN = 2,
    T_DATA = 3,
    T_CREDIT = 4,
    T_END = 5,
    T_RESIZE = 6,
    T_SIGNAL = 7,
    T_CLOSE = 8,
    T_PING = 9,
    T_COLLECT = 10,
    T_UP = 128,
    T_HELLO = 129,
    T_OPENED = 130,
    T_EXIT = 131,
    T_ERROR = 132,
    T_PONG = 133,
};

enum stream_kind {
    K_EXEC = 1,
    K_ATTACH = 2,
    K_CONSOLE = 3,
    K_GET = 4,
    K_PUT = 5,
    K_STAT = 6,
    K_CONFIGURE = 7,
    K_SHUTDOWN = 8,
    K_WAIT = 9,
    K_MOUNT = 16,
    K_GROW = 17,
    K_CONNECT = 33,
};

enum channel { CH_IN = 0, CH_OUT = 1, CH_ERR = 2 };

#define OPEN_MORE 1 /* flag of OPEN: the body goes on in the next OPEN frame */

enum error_code {
    E_OK = 0,
    E_NOT_FOUND = 1,      /* no such program */
    E_NOT_EXECUTABLE = 2, /* the program is there and cannot be run */
    E_NO_USER = 3,
    E_NO_DIRECTORY = 4,
    E_DENIED = 5,
    E_LIMIT = 6,
    E_PROTOCOL = 7,
    E_IO = 8,
    E_UNSUPPORTED = 9,
    E_NO_FILE = 10,
    E_REFUSED = 11, /* nobody listens there */
};

enum hello_flag { H_MAIN = 1, H_MAIN_EXITED = 2, H_CONSOLE = 4 };

enum guest_mode { M_SOCKET = 0, M_MICROVM = 1, M_CONTAINER = 2, M_VM = 3 };

#endif
