#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <net/route.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "guest.h"

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

int guest_network(const struct settings *s)
{
    char nic[IFNAMSIZ];
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), done = -1;
    if (fd < 0)
        return -1;
    set_up(fd, "lo");
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
