/* Users and groups of the guest, read from its own /etc/passwd and /etc/group (no NSS in a static program). */
#ifndef YURT_USERS_H
#define YURT_USERS_H

#include <stdbool.h>
#include <sys/types.h>

#define MAX_GROUPS 64

struct identity {
    uid_t uid;
    gid_t gid;
    gid_t groups[MAX_GROUPS];
    size_t group_count;
    char name[64];
    char home[256];
    char shell[256];
};

/* Read "name", "uid", "name:group" or "uid:gid" from the files in `etc`. An empty text is the caller itself. */
bool identity_find(const char *text, const char *etc, struct identity *found);

#endif
