/* Tests of the agent's pure parts. Each test is a function; the first broken expectation ends the program. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "frame.h"
#include "jobs.h"
#include "names.h"
#include "outbox.h"
#include "ring.h"
#include "settings.h"
#include "target.h"
#include "users.h"

#define EXPECT(condition)                                                        \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                             \
        }                                                                        \
    } while (0)

static struct parser parser;
static uint8_t bytes[4 * MAX_TO_AGENT];

static size_t frame(uint8_t *to, uint8_t type, uint32_t stream, const void *payload, uint32_t size)
{
    put_header(to, type, stream, size);
    if (size > 0)
        memcpy(to + HEADER_SIZE, payload, size);
    to[HEADER_SIZE + size] = FRAME_END;
    return HEADER_SIZE + size + 1;
}

/* Feed everything; returns the number of frames, and the type of the last. */
static int feed(const uint8_t *data, size_t size, size_t step, int *lost)
{
    enum parse_result result;
    int frames = 0;
    *lost = 0;
    while (size > 0) {
        size_t used = parser_feed(&parser, data, size < step ? size : step, &result);
        frames += result == PARSE_FRAME;
        *lost += result == PARSE_LOST;
        data += used;
        size -= used;
    }
    return frames;
}

static void test_frames_in_any_portions(void)
{
    uint8_t nonce[NONCE_SIZE] = {7};
    size_t size = frame(bytes, T_SYNC, 0, nonce, NONCE_SIZE);
    size += frame(bytes + size, T_DATA, 5, "\0hello", 6);
    bytes[size++] = 0; /* filling */
    size += frame(bytes + size, T_CLOSE, 5, NULL, 0);
    for (size_t step = 1; step < 40; step++) {
        int lost;
        parser_reset(&parser);
        EXPECT(feed(bytes, size, step, &lost) == 3 && lost == 0);
        EXPECT(parser.type == T_CLOSE && parser.stream == 5 && parser.length == 0);
    }
}

static void test_nothing_before_sync(void)
{
    int lost;
    size_t size = frame(bytes, T_OPEN, 1, "abc", 3);
    parser_reset(&parser);
    EXPECT(feed(bytes, size, size, &lost) == 0);
}

static void test_resync_out_of_a_cut_frame(void)
{
    uint8_t nonce[NONCE_SIZE] = {1, 2, 3};
    static const size_t cuts[] = {1, 5, 11, 12, 13, 100, HEADER_SIZE + MAX_TO_AGENT};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        int lost;
        static uint8_t data[MAX_TO_AGENT];
        memset(data, 0x59, sizeof data);
        size_t size = frame(bytes, T_SYNC, 0, nonce, NONCE_SIZE);
        frame(bytes + size, T_DATA, 1, data, sizeof data);
        size += cuts[i];
        memset(bytes + size, 0, MAX_TO_AGENT + HEADER_SIZE + 1); /* what a new host sends first */
        size += MAX_TO_AGENT + HEADER_SIZE + 1;
        size += frame(bytes + size, T_SYNC, 0, nonce, NONCE_SIZE);
        parser_reset(&parser);
        EXPECT(feed(bytes, size, 4096, &lost) == 2 && lost >= 1);
        EXPECT(parser.type == T_SYNC && memcmp(parser.payload, nonce, NONCE_SIZE) == 0);
    }
}

static void test_long_frame_is_refused(void)
{
    uint8_t nonce[NONCE_SIZE] = {0};
    int lost;
    size_t size = frame(bytes, T_SYNC, 0, nonce, NONCE_SIZE);
    put_header(bytes + size, T_DATA, 1, MAX_TO_AGENT + 1);
    parser_reset(&parser);
    EXPECT(feed(bytes, size + HEADER_SIZE, 64, &lost) == 1 && lost == 1);
}

static size_t record(uint8_t *to, uint16_t tag, const char *value, uint32_t size)
{
    put_u16(to, tag);
    put_u32(to + 2, size);
    memcpy(to + 6, value, size);
    return 6 + size;
}

static void test_target(void)
{
    struct target found[2];
    EXPECT(target_parse("", 80, found) == 2);
    EXPECT(found[0].address.ss_family == AF_INET && found[1].address.ss_family == AF_INET6);
    EXPECT(target_parse("10.0.0.1", 65535, found) == 1 && found[0].address.ss_family == AF_INET);
    EXPECT(target_parse("fd00::1", 1, found) == 1 && found[0].address.ss_family == AF_INET6);
    EXPECT(target_parse("10.0.0.1", 0, found) == 0);
    EXPECT(target_parse("10.0.0.1", 65536, found) == 0);
    EXPECT(target_parse("localhost", 80, found) == 0);
    EXPECT(target_parse("10.0.0.1 ", 80, found) == 0);
    EXPECT(target_parse("::1%lo", 80, found) == 0);
}

static void test_settings(void)
{
    struct settings s;
    size_t size = record(bytes, TAG_COMMAND, "echo", 4);
    size += record(bytes + size, TAG_ENV, "A=b", 3);
    size += record(bytes + size, TAG_COMMAND, "", 0);
    size += record(bytes + size, TAG_TTY, "\1\0\0\0", 4);
    size += record(bytes + size, 999, "from a newer host", 17);
    size += record(bytes + size, TAG_WORKDIR, "/tmp", 4);
    EXPECT(settings_parse(&s, bytes, size, false));
    EXPECT(strcmp(s.command[0], "echo") == 0 && strcmp(s.command[1], "") == 0 && s.command[2] == NULL);
    EXPECT(strcmp(s.env[0], "A=b") == 0 && s.env[1] == NULL && s.tty && strcmp(s.workdir, "/tmp") == 0);
    EXPECT(strcmp(s.user, "") == 0 && s.init_arguments[0] == NULL);
    settings_free(&s);
    for (size_t cut = 1; cut < 10; cut++)
        EXPECT(!settings_parse(&s, bytes, cut, false));
    EXPECT(!settings_parse(&s, bytes, size, true)); /* no magic */
    size = record(bytes, TAG_USER, "ro\0ot", 5);
    EXPECT(!settings_parse(&s, bytes, size, false));
}

static void test_names(void)
{
    EXPECT(name_is_safe("a") && name_is_safe("a/b.c/..d") && name_is_safe("."));
    EXPECT(!name_is_safe("") && !name_is_safe("/a") && !name_is_safe("a/") && !name_is_safe("a//b"));
    EXPECT(!name_is_safe("..") && !name_is_safe("a/../b") && !name_is_safe("a/.") && !name_is_safe("./a"));
    char out[64];
    base_name("/etc/ssh/", out, sizeof out);
    EXPECT(strcmp(out, "ssh") == 0);
    base_name("/", out, sizeof out);
    EXPECT(strcmp(out, ".") == 0);
    base_name("..", out, sizeof out);
    EXPECT(strcmp(out, ".") == 0);
}

static void test_beneath(const char *directory)
{
    char path[256];
    int root = open(directory, O_RDONLY | O_DIRECTORY);
    EXPECT(root >= 0 && mkdirat(root, "in", 0700) == 0 && symlinkat("/etc", root, "out") == 0);
    EXPECT(symlinkat("..", root, "up") == 0 && symlinkat("in", root, "inner") == 0);
    EXPECT(open_beneath(root, "out", O_RDONLY | O_DIRECTORY, 0) < 0);
    EXPECT(open_beneath(root, "up", O_RDONLY | O_DIRECTORY, 0) < 0);
    EXPECT(open_beneath(root, "../", O_RDONLY | O_DIRECTORY, 0) < 0);
    int inner = open_beneath(root, "inner", O_RDONLY | O_DIRECTORY, 0);
    EXPECT(inner >= 0);
    close(inner);
    close(root);
    snprintf(path, sizeof path, "%s/in", directory);
    rmdir(path);
}

static void test_users(const char *directory)
{
    char path[256];
    struct identity who;
    snprintf(path, sizeof path, "%s/passwd", directory);
    FILE *file = fopen(path, "w");
    EXPECT(file != NULL);
    fputs("root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1001:100::/home/ann:/bin/zsh\nx:x:-1:5:::\n", file);
    fclose(file);
    snprintf(path, sizeof path, "%s/group", directory);
    file = fopen(path, "w");
    EXPECT(file != NULL);
    fputs("root:x:0:\nusers:x:100:\nwheel:x:10:bob,ann\n", file);
    fclose(file);
    EXPECT(identity_find("ann", directory, &who) && who.uid == 1001 && who.gid == 100 && who.group_count == 1);
    EXPECT(who.groups[0] == 10 && strcmp(who.home, "/home/ann") == 0 && strcmp(who.shell, "/bin/zsh") == 0);
    EXPECT(identity_find("ann:wheel", directory, &who) && who.gid == 10 && who.group_count == 0);
    EXPECT(identity_find("1001", directory, &who) && strcmp(who.name, "ann") == 0);
    EXPECT(identity_find("7:8", directory, &who) && who.uid == 7 && who.gid == 8 && strcmp(who.home, "/") == 0);
    EXPECT(!identity_find("nobody-here", directory, &who) && !identity_find(":8", directory, &who));
    EXPECT(!identity_find("ann:nogroup", directory, &who) && !identity_find("4294967295", directory, &who));
    EXPECT(!identity_find("-1", directory, &who));
}

static void test_ring(void)
{
    static struct ring r;
    static uint8_t in[WINDOW], out[WINDOW];
    for (size_t i = 0; i < WINDOW; i++)
        in[i] = (uint8_t)(i * 7);
    EXPECT(ring_put(&r, in, WINDOW - 10) && !ring_put(&r, in, 11) && ring_room(&r) == 10);
    r.base += WINDOW - 20;
    EXPECT(ring_put(&r, in, 1000) && ring_used(&r) == 1010);
    ring_copy(&r, r.base + 10, out, 1000);
    EXPECT(memcmp(in, out, 1000) == 0);
    ring_free(&r);
}

static void test_outbox(void)
{
    static struct outbox o;
    static struct ring r;
    static uint8_t data[WINDOW];
    EXPECT(ring_put(&r, data, WINDOW));
    size_t moved = 0, part;
    while ((part = outbox_data(&o, 1, 1, &r, r.base, WINDOW)) > 0)
        moved += part;
    EXPECT(moved >= MAX_TO_HOST - 1 && outbox_room(&o) >= CONTROL_ROOM);
    EXPECT(outbox_frame(&o, T_PONG, 0, data, 64, NULL, 0)); /* control frames still fit */
    o.head = o.tail;
    EXPECT(outbox_data(&o, 1, 1, &r, r.base, 5) == 5);
    ring_free(&r);
}

static void test_entry(void)
{
    static uint8_t encoded[ENTRY_HEAD + 2 * (MAX_PATH + 1)];
    static struct entry a, b;
    uint32_t name, target;
    a = (struct entry){.kind = 'f', .mode = 0640, .uid = 1, .gid = 2, .mtime = 1ULL << 40, .size = 5ULL << 32};
    strcpy(a.name, "x/y");
    strcpy(a.target, "t");
    EXPECT(entry_encode(&a, encoded) == ENTRY_HEAD + 4);
    EXPECT(entry_decode(encoded, &b, &name, &target) == 0 && name == 3 && target == 1);
    EXPECT(b.kind == 'f' && b.mode == 0640 && b.size == 5ULL << 32 && b.mtime == 1ULL << 40);
    encoded[0] = 'b'; /* a device */
    EXPECT(entry_decode(encoded, &b, &name, &target) < 0);
    encoded[0] = 'f';
    put_u32(encoded + 33, MAX_PATH + 1);
    EXPECT(entry_decode(encoded, &b, &name, &target) < 0);
}

static void in_directory(void (*test)(const char *))
{
    char template[] = "/tmp/yurt-unit-XXXXXX", command[64];
    EXPECT(mkdtemp(template) != NULL);
    test(template);
    snprintf(command, sizeof command, "rm -rf %s", template);
    EXPECT(system(command) == 0);
}

int main(void)
{
    test_frames_in_any_portions();
    test_nothing_before_sync();
    test_resync_out_of_a_cut_frame();
    test_long_frame_is_refused();
    test_settings();
    test_target();
    test_names();
    test_ring();
    test_outbox();
    test_entry();
    in_directory(test_beneath);
    in_directory(test_users);
    puts("all good");
    return 0;
}
