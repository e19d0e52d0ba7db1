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
    default: break; /* a newer host: what we do not know we leave alone */
    }
}

static bool is_list(uint16_t tag)
{
    return tag == TAG_INIT_ARGUMENT || tag == TAG_COMMAND || tag == TAG_ENV || tag == TAG_NIC;
}

static bool count_lists(struct slice all, size_t counts[TAG_NIC + 1])
{
    struct record r;
    while (all.size > 0) {
        if (!next_record(&all, &r))
            return false;
        if (is_list(r.tag))
            counts[r.tag]++;
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
    size_t counts[TAG_NIC + 1] = {0};
    if (!count_lists(all, counts))
        return false;
    size_t total = counts[TAG_INIT_ARGUMENT] + counts[TAG_COMMAND] + counts[TAG_ENV] + counts[TAG_NIC] + 4;
    s->arena = malloc(all.size + 1);
    s->lists = calloc(total, sizeof(char *));
    if (s->arena == NULL || s->lists == NULL)
        return false;
    s->init_arguments = s->lists;
    s->command = s->init_arguments + counts[TAG_INIT_ARGUMENT] + 1;
    s->env = s->command + counts[TAG_COMMAND] + 1;
    s->nics = s->env + counts[TAG_ENV] + 1;
    char **next[TAG_NIC + 1] = {[TAG_INIT_ARGUMENT] = s->init_arguments,
                                [TAG_COMMAND] = s->command,
                                [TAG_ENV] = s->env,
                                [TAG_NIC] = s->nics};
    char *cursor = s->arena, *text;
    struct record r;
    while (all.size > 0 && next_record(&all, &r)) {
        bool texty = is_list(r.tag) || store_text(s, r.tag, "");
        if (!texty) {
            store_number(s, &r);
            continue;
        }
        if (!copy_text(&r, &cursor, &text))
            return false;
        if (is_list(r.tag))
            *next[r.tag]++ = text;
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
