#include "users.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIELDS 7

/* Split one line at colons, in place; returns how many fields there are (at most FIELDS). */
static int split(char *line, char *fields[FIELDS])
{
    int count = 0;
    line[strcspn(line, "\r\n")] = 0;
    while (line != NULL && count < FIELDS)
        fields[count++] = strsep(&line, ":");
    return count;
}

static bool parse_id(const char *text, unsigned *id)
{
    char *end;
    if (*text < '0' || *text > '9')
        return false;
    unsigned long value = strtoul(text, &end, 10);
    if (*end != 0 || value >= 0xffffffffUL)
        return false;
    *id = (unsigned)value;
    return true;
}

static void copy(char *to, size_t size, const char *from)
{
    snprintf(to, size, "%s", from);
}

typedef bool (*line_handler)(char **fields, int count, void *context);

/* Call `handle` for each line until it returns true. */
static bool each_line(const char *etc, const char *file, line_handler handle, void *context)
{
    char path[512], *line = NULL, *fields[FIELDS];
    size_t room = 0;
    bool done = false;
    snprintf(path, sizeof path, "%s/%s", etc, file);
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return false;
    while (!done && getline(&line, &room, stream) > 0) {
        if (room > 1024 * 1024)
            break;
        done = handle(fields, split(line, fields), context);
    }
    free(line);
    fclose(stream);
    return done;
}

struct wanted {
    const char *name; /* NULL: look for `id` */
    unsigned id;
    struct identity *found;
};

static bool match_user(char **f, int count, void *context)
{
    struct wanted *w = context;
    unsigned uid, gid;
    if (count < 6 || !parse_id(f[2], &uid) || !parse_id(f[3], &gid))
        return false;
    if (w->name != NULL ? strcmp(w->name, f[0]) != 0 : uid != w->id)
        return false;
    w->found->uid = uid;
    w->found->gid = gid;
    copy(w->found->name, sizeof w->found->name, f[0]);
    copy(w->found->home, sizeof w->found->home, f[5][0] ? f[5] : "/");
    copy(w->found->shell, sizeof w->found->shell, count > 6 && f[6][0] ? f[6] : "/bin/sh");
    return true;
}

static bool match_group(char **f, int count, void *context)
{
    struct wanted *w = context;
    unsigned gid;
    if (count < 3 || !parse_id(f[2], &gid) || strcmp(w->name, f[0]) != 0)
        return false;
    w->found->gid = gid;
    return true;
}

static bool add_membership(char **f, int count, void *context)
{
    struct wanted *w = context;
    unsigned gid;
    char *members, *member;
    if (count < 4 || !parse_id(f[2], &gid))
        return false;
    members = f[3];
    while ((member = strsep(&members, ",")) != NULL)
        if (strcmp(member, w->name) == 0 && w->found->group_count < MAX_GROUPS)
            w->found->groups[w->found->group_count++] = gid;
    return false;
}

static bool find_user(const char *text, const char *etc, struct identity *found)
{
    struct wanted by_name = {text, 0, found};
    if (each_line(etc, "passwd", match_user, &by_name))
        return true;
    struct wanted by_id = {NULL, 0, found};
    if (!parse_id(text, &by_id.id))
        return false;
    if (!each_line(etc, "passwd", match_user, &by_id)) {
        found->uid = by_id.id;
        found->gid = 0;
    }
    return true;
}

bool identity_find(const char *text, const char *etc, struct identity *found)
{
    char user[256];
    memset(found, 0, sizeof *found);
    copy(found->home, sizeof found->home, "/");
    copy(found->shell, sizeof found->shell, "/bin/sh");
    if (text[0] == 0) {
        snprintf(user, sizeof user, "%u", (unsigned)geteuid());
        bool known = find_user(user, etc, found);
        found->gid = getegid();
        return known;
    }
    const char *colon = strchrnul(text, ':');
    if (colon == text || (size_t)(colon - text) >= sizeof user)
        return false;
    memcpy(user, text, (size_t)(colon - text));
    user[colon - text] = 0;
    if (!find_user(user, etc, found))
        return false;
    if (*colon == ':') {
        unsigned gid;
        struct wanted group = {colon + 1, 0, found};
        if (each_line(etc, "group", match_group, &group))
            return true; /* an explicit group stands alone, without the user's others */
        if (!parse_id(colon + 1, &gid))
            return false;
        found->gid = gid;
        return true;
    }
    if (found->name[0]) {
        struct wanted member = {found->name, 0, found};
        each_line(etc, "group", add_membership, &member);
    }
    return true;
}
