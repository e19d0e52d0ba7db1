/* Fuzzes everything that reads bytes from the host: frames, settings, archive entries, member names.
 *
 * With clang: LLVMFuzzerTestOneInput under libFuzzer. With any compiler and -DFUZZ_DRIVER: a program of its own that runs
 * the files it is given (`fuzz FILE...`), or mutations of well-formed input (`fuzz --random COUNT [SEED]`). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "jobs.h"
#include "names.h"
#include "settings.h"
#include "target.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool holds, const char *what)
{
    if (!holds) {
        fprintf(stderr, "broken: %s\n", what);
        abort();
    }
}

static void fuzz_frames(const uint8_t *data, size_t size)
{
    static struct parser parser;
    enum parse_result result;
    bool synced = false;
    memset(&parser, 0, sizeof parser);
    parser_reset(&parser);
    while (size > 0) {
        size_t used = parser_feed(&parser, data, size, &result);
        check(used > 0 && used <= size, "the parser makes progress");
        if (result == PARSE_FRAME) {
            check(parser.length <= MAX_TO_AGENT, "no frame is too long");
            check(synced || parser.type == T_SYNC, "nothing counts before a SYNC");
            synced = true;
        } else if (result == PARSE_LOST) {
            synced = false;
        }
        data += used;
        size -= used;
    }
}

static void fuzz_settings(const uint8_t *data, size_t size)
{
    for (int magic = 0; magic < 2; magic++) {
        struct settings s;
        if (!settings_parse(&s, data, size, magic))
            continue;
        size_t total = strlen(s.hostname) + strlen(s.path) + strlen(s.user);
        for (char **word = s.command; *word != NULL; word++)
            total += strlen(*word);
        for (char **word = s.env; *word != NULL; word++)
            total += strlen(*word);
        check(total <= size, "settings are no longer than what they came from");
        settings_free(&s);
    }
}

static void fuzz_target(const uint8_t *data, size_t size)
{
    char text[64] = {0};
    struct target found[2];
    if (size < 2)
        return;
    memcpy(text, data + 2, size - 2 < sizeof text - 1 ? size - 2 : sizeof text - 1);
    size_t count = target_parse(text, (uint32_t)(data[0] | data[1] << 8), found);
    check(count <= (text[0] == 0 ? 2 : 1), "no more addresses than were named");
    for (size_t i = 0; i < count; i++)
        check(found[i].size <= sizeof found[i].address, "an address fits its place");
}

static void fuzz_entry(const uint8_t *data, size_t size)
{
    static struct entry entry;
    static uint8_t encoded[ENTRY_HEAD + 2 * (MAX_PATH + 1)];
    uint32_t name_size, target_size;
    if (size < ENTRY_HEAD || entry_decode(data, &entry, &name_size, &target_size) < 0)
        return;
    if (name_size + target_size > size - ENTRY_HEAD)
        return;
    memcpy(entry.name, data + ENTRY_HEAD, name_size);
    entry.name[name_size] = 0;
    entry.target[0] = 0;
    if (name_is_safe(entry.name)) {
        check(entry.name[0] != '/' && strstr(entry.name, "//") == NULL, "safe names are relative and plain");
        check(strncmp(entry.name, "../", 3) != 0 && strstr(entry.name, "/../") == NULL, "safe names do not climb");
    }
    check(entry_encode(&entry, encoded) <= sizeof encoded, "an entry fits its buffer");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_frames(data, size);
    fuzz_settings(data, size);
    fuzz_entry(data, size);
    fuzz_target(data, size);
    return 0;
}

#ifdef FUZZ_DRIVER
#define LIMIT 2048

static uint64_t state;

static uint32_t random_number(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % below;
}

static size_t add_frame(uint8_t *to, uint8_t type, uint32_t stream, uint32_t size)
{
    put_header(to, type, stream, size);
    for (uint32_t i = 0; i < size; i++)
        to[HEADER_SIZE + i] = (uint8_t)random_number(256);
    to[HEADER_SIZE + size] = FRAME_END;
    return HEADER_SIZE + size + 1;
}

static size_t make_frames(uint8_t *to)
{
    size_t used = random_number(2) ? random_number(40) : 0;
    memset(to, 0, used);
    used += add_frame(to + used, T_SYNC, 0, NONCE_SIZE);
    for (uint32_t left = random_number(6); left > 0; left--)
        used += add_frame(to + used, (uint8_t)random_number(12), random_number(4), random_number(100));
    return used;
}

static size_t make_settings(uint8_t *to)
{
    size_t used = random_number(2) ? 12 : 0, start = used;
    for (uint32_t left = random_number(10); left > 0; left--) {
        uint32_t size = random_number(60);
        put_u16(to + used, (uint16_t)random_number(24));
        put_u32(to + used + 2, size);
        memset(to + used + 6, 'a', size);
        used += 6 + size;
    }
    if (start > 0) {
        memcpy(to, SETTINGS_MAGIC, 8);
        put_u32(to + 8, (uint32_t)(used - start));
    }
    return used;
}

static size_t make_entry(uint8_t *to)
{
    static const char *const names[] = {"a", "a/b", "../x", "/etc", "a/../b", "a//b", ".", "", "a/."};
    struct entry e = {.kind = (uint8_t) "fdlhe"[random_number(5)], .mode = 0644, .size = random_number(1000)};
    snprintf(e.name, sizeof e.name, "%s", names[random_number(9)]);
    snprintf(e.target, sizeof e.target, "%s", names[random_number(9)]);
    return entry_encode(&e, to);
}

static void random_run(unsigned long count)
{
    static uint8_t input[LIMIT + 9000];
    while (count-- > 0) {
        uint32_t kind = random_number(3);
        size_t size = kind == 0 ? make_frames(input) : kind == 1 ? make_settings(input) : make_entry(input);
        for (uint32_t flips = random_number(4); flips > 0 && size > 0; flips--)
            input[random_number((uint32_t)size)] = (uint8_t)random_number(256);
        if (random_number(8) == 0 && size > 0)
            size = random_number((uint32_t)size);
        uint8_t *exact = malloc(size + 1); /* the sanitizer sees a read of one byte too many */
        memcpy(exact, input, size);
        LLVMFuzzerTestOneInput(exact, size);
        free(exact);
    }
}

static int run_file(const char *path)
{
    static uint8_t input[2 << 20];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t size = fread(input, 1, sizeof input, file);
    fclose(file);
    return LLVMFuzzerTestOneInput(input, size);
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "--random") == 0) {
        state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
        random_run(strtoul(argv[2], NULL, 10));
        return 0;
    }
    for (int i = 1; i < argc; i++)
        if (run_file(argv[i]) != 0)
            return 1;
    return 0;
}
#endif
