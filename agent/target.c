#include "target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

static bool read_address(const char *text, uint16_t port, struct target *to)
{
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    memset(to, 0, sizeof *to);
    if (inet_pton(AF_INET, text, &four.sin_addr) == 1) {
        memcpy(&to->address, &four, sizeof four);
        to->size = sizeof four;
    } else if (inet_pton(AF_INET6, text, &six.sin6_addr) == 1) {
        memcpy(&to->address, &six, sizeof six);
        to->size = sizeof six;
    }
    return to->size > 0;
}

size_t target_parse(const char *text, uint32_t port, struct target found[2])
{
    if (port < 1 || port > 65535)
        return 0;
    if (text[0] != 0)
        return read_address(text, (uint16_t)port, &found[0]) ? 1 : 0;
    return read_address("127.0.0.1", (uint16_t)port, &found[0]) && read_address("::1", (uint16_t)port, &found[1]) ? 2 : 0;
}
