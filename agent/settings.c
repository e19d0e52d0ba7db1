#include "settings.h"

#include <stdlib.h>
#include <string.h>

#include "frame.h"
#include "proto.h"

struct record {
    uint16_t tag;
    uint32_t size;
    const uint8_t *value;
};

static bool next_record(struct slice *s, struct record *r)
{
    return take_u16(s, &r->tag) && take_u32(s, &r->size) && take_bytes(s, r->size, &r->value);
}

static uint32_t number(const struct record *r)
{
    uint32_t value = 0;
    for (uint32_t i = 0; i < r->size && i < 4; i++)
        value |= (uint32_t)r->value[i] << (8 * i);
    return value;
}

static bool store_text(struct settings *s, uint16_t tag, const char *text)
{
    const char **places[] = {
        [TAG_MODE] = &s->mode,         [TAG_HOSTNAME] = &s->hostname,       [TAG_INIT] = &s->init,
        [TAG_WORKDIR] = &s->workdir,   [TAG_USER] = &s->user,               [TAG_NETWORK] = &s->network,
        [TAG_ADDRESS] = &s->address,   [TAG_GATEWAY] = &s->gateway,         [TAG_DNS] = &s->dns,
        [TAG_PATH] = &s->path,         [TAG_ROOT_DEVICE] = &s->root_device, [TAG_MACHINE_ID] = &s->machine_id,
        [TAG_ACTION] = &s->action,     [TAG_SEARCH] = &s->search,
    };
    if (tag >= sizeof places / sizeof places[0] || places[tag] == NULL)
        return false;
    *places[tag] = text;
    return true;
}

static void store_number(struct settings *s, const struct record *r)
{
    uint32_t value = number(r);
    switch (r->tag) {
    case TAG_TTY: s->tty = value != 0; break;
    case TAG_STDIN: s->stdin_open = value != 0; break;
    case TAG_FOLLOW: s->follow = value != 0; break;
    case TAG_ROWS: s->rows = (uint16_t)value; break;
    case TAG_COLUMNS: s->columns = (uint16_t)value; break;
    case TAG_GRACE_MS: s->grace_ms = value; break;
    case TAG_CPUS: s->cpus = value; break;
    case TAG_MEMORY_MIB: s->memory_mib = value; break;
    case TAG_DISK_MIB: s->disk_mib = value; break;
    case TAG_PORT: s->port = value; break;
    default: break; /* a newer host: what we do not know we leave alone */
    }
}

enum list { LIST_INIT_ARGUMENT, LIST_COMMAND, LIST_ENV, LIST_NIC, LIST_MOUNT, LISTS };

/* Which list a tag belongs to; LISTS for those that do not repeat. */
static enum list list_of(uint16_t tag)
{
    switch (tag) {
    case TAG_INIT_ARGUMENT: return LIST_INIT_ARGUMENT;
    case TAG_COMMAND: return LIST_COMMAND;
    case TAG_ENV: return LIST_ENV;
    case TAG_NIC: return LIST_NIC;
    case TAG_MOUNT: return LIST_MOUNT;
    default: return LISTS;
    }
}

static bool count_lists(struct slice all, size_t counts[LISTS])
{
    struct record r;
    while (all.size > 0) {
        if (!next_record(&all, &r))
            return false;
        if (list_of(r.tag) != LISTS)
            counts[list_of(r.tag)]++;
    }
    return true;
}

static void set_defaults(struct settings *s)
{
    static const char empty[] = "";
    memset(s, 0, sizeof *s);
    s->mode = s->hostname = s->init = s->workdir = s->user = s->network = s->address = s->gateway = empty;
    s->dns = s->search = s->root_device = s->machine_id = s->path = s->action = empty;
}

/* Copy one text with its terminator; the six bytes of each record's head always leave room for it. */
static bool copy_text(const struct record *r, char **cursor, char **text)
{
    if (memchr(r->value, 0, r->size) != NULL)
        return false;
    *text = *cursor;
    memcpy(*cursor, r->value, r->size);
    (*cursor)[r->size] = 0;
    *cursor += r->size + 1;
    return true;
}

static bool fill(struct settings *s, struct slice all)
{
    size_t counts[LISTS] = {0};
    char ***places[LISTS] = {&s->init_arguments, &s->command, &s->env, &s->nics, &s->mounts}, **next[LISTS];
    if (!count_lists(all, counts))
        return false;
    size_t total = LISTS;
    for (int i = 0; i < LISTS; i++)
        total += counts[i];
    s->arena = malloc(all.size + 1);
    s->lists = calloc(total, sizeof(char *));
    if (s->arena == NULL || s->lists == NULL)
        return false;
    char **free_place = s->lists;
    for (int i = 0; i < LISTS; i++) {
        *places[i] = next[i] = free_place;
        free_place += counts[i] + 1;
    }
    char *cursor = s->arena, *text;
    struct record r;
    while (all.size > 0 && next_record(&all, &r)) {
        enum list list = list_of(r.tag);
        bool texty = list != LISTS || store_text(s, r.tag, "");
        if (!texty) {
            store_number(s, &r);
            continue;
        }
        if (!copy_text(&r, &cursor, &text))
            return false;
        if (list != LISTS)
            *next[list]++ = text;
        else
            store_text(s, r.tag, text);
    }
    return true;
}

bool settings_parse(struct settings *s, const uint8_t *data, size_t size, bool magic)
{
    struct slice all = {data, size};
    const uint8_t *head;
    set_defaults(s);
    if (size > MAX_REQUEST)
        return false;
    if (magic) {
        uint32_t length;
        if (!take_bytes(&all, 8, &head) || memcmp(head, SETTINGS_MAGIC, 8) != 0 || !take_u32(&all, &length) ||
            length != all.size)
            return false;
    }
    if (fill(s, all))
        return true;
    settings_free(s);
    return false;
}

void settings_free(struct settings *s)
{
    free(s->arena);
    free(s->lists);
    set_defaults(s);
}
