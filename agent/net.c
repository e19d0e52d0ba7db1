/* The guest's interfaces, by ioctl: there may be no program in the guest that could do it. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest.h"

#define NIC_WAIT_S 5 /* for one that has just been plugged in */

static void name_interface(struct ifreq *request, const char *name)
{
    memset(request, 0, sizeof *request);
    snprintf(request->ifr_name, sizeof request->ifr_name, "%s", name);
}

static int set_up(int fd, const char *name)
{
    struct ifreq request;
    name_interface(&request, name);
    if (ioctl(fd, SIOCGIFFLAGS, &request) < 0)
        return -1;
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    return ioctl(fd, SIOCSIFFLAGS, &request);
}

/* The Ethernet interface with the lowest index. */
static bool find_nic(int fd, char *name, size_t size)
{
    struct if_nameindex *all = if_nameindex();
    unsigned best = 0;
    for (struct if_nameindex *i = all; i != NULL && i->if_name != NULL; i++) {
        struct ifreq request;
        name_interface(&request, i->if_name);
        if (ioctl(fd, SIOCGIFHWADDR, &request) < 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
            continue;
        if (best == 0 || i->if_index < best) {
            best = i->if_index;
            snprintf(name, size, "%s", i->if_name);
        }
    }
    if (all != NULL)
        if_freenameindex(all);
    return best != 0;
}

static bool parse_ipv4(const char *text, struct sockaddr *to)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    if (inet_pton(AF_INET, text, &address.sin_addr) != 1)
        return false;
    memcpy(to, &address, sizeof address);
    return true;
}

static int set_address(int fd, const char *name, const char *cidr)
{
    struct ifreq request;
    char text[64];
    const char *slash = strchr(cidr, '/');
    long bits = slash ? strtol(slash + 1, NULL, 10) : 32;
    if (bits < 0 || bits > 32)
        return -1;
    name_interface(&request, name);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(cidr, "/"), cidr);
    if (!parse_ipv4(text, &request.ifr_addr) || ioctl(fd, SIOCSIFADDR, &request) < 0)
        return -1;
    struct sockaddr_in mask = {.sin_family = AF_INET, .sin_addr.s_addr = bits ? htonl(~0U << (32 - bits)) : 0};
    memcpy(&request.ifr_netmask, &mask, sizeof mask);
    return ioctl(fd, SIOCSIFNETMASK, &request);
}

static int set_gateway(int fd, const char *gateway)
{
    struct rtentry route = {.rt_flags = RTF_UP | RTF_GATEWAY};
    if (!parse_ipv4("0.0.0.0", &route.rt_dst) || !parse_ipv4("0.0.0.0", &route.rt_genmask) ||
        !parse_ipv4(gateway, &route.rt_gateway))
        return -1;
    return ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST ? -1 : 0;
}

struct in6_ifreq { /* linux/ipv6.h, which the C library's headers do not suffer beside them */
    struct in6_addr address;
    uint32_t prefix;
    int index;
};

#define NIC_WORD 64

struct nic {
    char index[4], mac[NIC_WORD], mtu[8], ipv4[NIC_WORD], gateway4[NIC_WORD], ipv6[NIC_WORD], gateway6[NIC_WORD];
};

static void read_word(const char *word, size_t size, struct nic *n)
{
    struct {
        const char *key;
        char *to;
        size_t room;
    } known[] = {
        {"index=", n->index, sizeof n->index},    {"mac=", n->mac, sizeof n->mac},
        {"mtu=", n->mtu, sizeof n->mtu},          {"ipv4=", n->ipv4, sizeof n->ipv4},
        {"gateway4=", n->gateway4, sizeof n->gateway4}, {"ipv6=", n->ipv6, sizeof n->ipv6},
        {"gateway6=", n->gateway6, sizeof n->gateway6},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t length = strlen(known[i].key);
        if (size > length && strncmp(word, known[i].key, length) == 0)
            snprintf(known[i].to, known[i].room, "%.*s", (int)(size - length), word + length);
    }
}

static void read_nic(const char *text, struct nic *n)
{
    memset(n, 0, sizeof *n);
    while (*text != 0) {
        size_t size = strcspn(text, " ");
        read_word(text, size, n);
        text += size + strspn(text + size, " ");
    }
}

static bool find_mac(int fd, const char *mac, char *name, size_t size)
{
    struct if_nameindex *all = if_nameindex();
    bool found = false;
    for (struct if_nameindex *i = all; !found && i != NULL && i->if_name != NULL; i++) {
        struct ifreq request;
        char text[32];
        name_interface(&request, i->if_name);
        if (ioctl(fd, SIOCGIFHWADDR, &request) < 0 || request.ifr_hwaddr.sa_family != ARPHRD_ETHER)
            continue;
        const uint8_t *b = (const uint8_t *)request.ifr_hwaddr.sa_data;
        snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
        found = strcmp(text, mac) == 0;
        if (found)
            snprintf(name, size, "%s", i->if_name);
    }
    if (all != NULL)
        if_freenameindex(all);
    return found;
}

static void rename_nic(int fd, const char *mac, const char *format, const char *index)
{
    struct ifreq request;
    char from[IFNAMSIZ];
    if (!find_mac(fd, mac, from, sizeof from))
        return;
    name_interface(&request, from);
    snprintf(request.ifr_newname, sizeof request.ifr_newname, format, index);
    if (strcmp(from, request.ifr_newname) != 0)
        ioctl(fd, SIOCSIFNAME, &request); /* the old name does as well */
}

static void set_mtu(int fd, const char *name, const char *mtu)
{
    struct ifreq request;
    name_interface(&request, name);
    request.ifr_mtu = (int)strtol(mtu, NULL, 10);
    if (request.ifr_mtu > 0 && ioctl(fd, SIOCSIFMTU, &request) < 0)
        guest_say("cannot set the MTU of %s: %s", name, strerror(errno));
}

/* The host has made sure that nobody else has the address, so it need not be asked for and is usable at once. */
static void skip_detection(const char *name)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/sys/net/ipv6/conf/%s/accept_dad", name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (write(fd, "0", 1) != 1)
        guest_say("cannot write %s: %s", path, strerror(errno));
    close(fd);
}

static int set_address6(int fd, const char *name, const char *cidr)
{
    struct in6_ifreq request = {.prefix = 64, .index = (int)if_nametoindex(name)};
    char text[NIC_WORD];
    const char *slash = strchr(cidr, '/');
    if (slash != NULL)
        request.prefix = (uint32_t)strtoul(slash + 1, NULL, 10);
    snprintf(text, sizeof text, "%.*s", (int)strcspn(cidr, "/"), cidr);
    if (inet_pton(AF_INET6, text, &request.address) != 1)
        return -1;
    return ioctl(fd, SIOCSIFADDR, &request) < 0 && errno != EEXIST ? -1 : 0;
}

static int set_gateway6(int fd, const char *name, const char *gateway)
{
    struct in6_rtmsg route = {.rtmsg_flags = RTF_UP | RTF_GATEWAY, .rtmsg_metric = 1024};
    route.rtmsg_ifindex = (int)if_nametoindex(name);
    if (inet_pton(AF_INET6, gateway, &route.rtmsg_gateway) != 1)
        return -1;
    return ioctl(fd, SIOCADDRT, &route) < 0 && errno != EEXIST ? -1 : 0;
}

static int set_nic6(const char *name, const struct nic *n)
{
    int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        guest_say("this kernel has no IPv6, so %s has no %s", name, n->ipv6);
        return -1;
    }
    int done = set_address6(fd, name, n->ipv6);
    if (done < 0)
        guest_say("cannot set the address %s: %s", n->ipv6, strerror(errno));
    else if (n->gateway6[0] != 0 && (done = set_gateway6(fd, name, n->gateway6)) < 0)
        guest_say("cannot set the gateway %s: %s", n->gateway6, strerror(errno));
    close(fd);
    return done;
}

static int set_nic(int fd, const struct nic *n)
{
    char name[IFNAMSIZ];
    int done = 0;
    if (!find_mac(fd, n->mac, name, sizeof name)) {
        guest_say("there is no NIC with the MAC %s", n->mac);
        return -1;
    }
    set_mtu(fd, name, n->mtu);
    skip_detection(name);
    if (n->ipv4[0] != 0 && (done = set_address(fd, name, n->ipv4)) < 0)
        guest_say("cannot set the address %s: %s", n->ipv4, strerror(errno));
    if (set_up(fd, name) < 0) {
        guest_say("cannot bring %s up: %s", name, strerror(errno));
        return -1;
    }
    if (done == 0 && n->gateway4[0] != 0 && (done = set_gateway(fd, n->gateway4)) < 0)
        guest_say("cannot set the gateway %s: %s", n->gateway4, strerror(errno));
    if (n->ipv6[0] != 0 && set_nic6(name, n) < 0)
        done = -1;
    return done;
}

struct nic_search {
    int fd;
    const char *mac;
};

static bool look_for_nic(void *context)
{
    struct nic_search *wanted = context;
    char name[IFNAMSIZ];
    return find_mac(wanted->fd, wanted->mac, name, sizeof name);
}

void guest_wait_nics(const struct settings *s)
{
    struct nic n;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (char **text = s->nics; fd >= 0 && text != NULL && *text != NULL; text++) {
        read_nic(*text, &n);
        struct nic_search wanted = {fd, n.mac};
        device_wait(look_for_nic, &wanted, NIC_WAIT_S);
    }
    if (fd >= 0)
        close(fd);
}

static int set_nics(int fd, const struct settings *s, bool rename)
{
    struct nic n;
    int done = 0;
    /* by way of names that nobody has, as two may want to change theirs with each other */
    for (char **text = s->nics; rename && *text != NULL; text++) {
        read_nic(*text, &n);
        rename_nic(fd, n.mac, "yurt%s", n.index);
    }
    for (char **text = s->nics; *text != NULL; text++) {
        read_nic(*text, &n);
        if (rename)
            rename_nic(fd, n.mac, "eth%s", n.index);
        if (set_nic(fd, &n) < 0)
            done = -1;
    }
    return done;
}

int guest_network(const struct settings *s, bool rename)
{
    char nic[IFNAMSIZ];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), done = -1;
    if (fd < 0)
        return -1;
    set_up(fd, "lo");
    if (s->nics != NULL && s->nics[0] != NULL) {
        done = set_nics(fd, s, rename);
        close(fd);
        return done;
    }
    if (s->address[0] != 0 && find_nic(fd, nic, sizeof nic)) {
        done = set_address(fd, nic, s->address);
        if (set_up(fd, nic) < 0 || done < 0)
            guest_say("cannot set the address %s: %s", s->address, strerror(errno));
        else if (s->gateway[0] != 0 && set_gateway(fd, s->gateway) < 0)
            guest_say("cannot set the gateway %s: %s", s->gateway, strerror(errno));
    }
    close(fd);
    return done;
}
