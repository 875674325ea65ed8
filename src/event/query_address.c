#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "query_tree.h"

/* Parses a decimal number of at most `max`. Returns whether it is one. */
static bool parse_number(const char *text, unsigned max, unsigned *number)
{
    size_t digits = strspn(text, "0123456789");

    if (digits == 0 || digits > 5 || text[digits] != '\0')
        return false;
    *number = 0;
    for (size_t i = 0; i != digits; ++i)
        *number = *number * 10 + (unsigned)(text[i] - '0');
    return *number <= max;
}

/* Splits "[::1]:443" and "1.2.3.4:443" at the port. Returns the port, "" if there is none. */
static const char *split_port(char **text)
{
    char *end;

    if ((*text)[0] == '[') {
        end = strchr(++*text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return NULL;
        *end++ = '\0';
    } else {
        end = strchr(*text, ':');
        if (end == NULL || strchr(end + 1, ':') != NULL) /* an IPv6 address alone */
            return "";
    }
    if (*end == '\0')
        return "";
    *end++ = '\0';
    return *end != '\0' ? end : NULL;
}

static bool parse_host(const char *host, struct query_address *address)
{
    if (inet_pton(AF_INET, host, address->bytes) == 1)
        address->family = 4;
    else if (inet_pton(AF_INET6, host, address->bytes) == 1)
        address->family = 6;
    else
        return false;
    address->prefix = address->family == 4 ? 32 : 128;
    return true;
}

bool query_address_parse(const char *text, size_t size, struct query_address *address)
{
    char copy[QUERY_ADDRESS_MAX] = "", *host = copy, *prefix;
    const char *port;
    unsigned number;

    *address = (struct query_address){0};
    if (size >= sizeof(copy) || memchr(text, '\0', size) != NULL)
        return false;
    memcpy(copy, text, size);
    prefix = strchr(copy, '/');
    if (prefix != NULL) {
        *prefix++ = '\0';
        address->is_prefix = true;
        return parse_host(host, address) && parse_number(prefix, address->prefix, &address->prefix);
    }
    port = split_port(&host);
    if (port == NULL || !parse_host(host, address) || (host != copy && address->family == 4))
        return false;
    if (port[0] == '\0')
        return true;
    if (!parse_number(port, UINT16_MAX, &number))
        return false;
    address->has_port = true;
    address->port = (uint16_t)number;
    return true;
}

bool query_address_read(const uint8_t *bytes, struct query_address *address)
{
    struct sockaddr_in6 sin6;
    struct sockaddr_in sin;
    sa_family_t family;

    *address = (struct query_address){.has_port = true};
    memcpy(&family, bytes, sizeof(family));
    if (family == AF_INET) {
        memcpy(&sin, bytes, sizeof(sin));
        memcpy(address->bytes, &sin.sin_addr, 4);
        address->family = 4;
        address->prefix = 32;
        address->port = ntohs(sin.sin_port);
    } else if (family == AF_INET6) {
        memcpy(&sin6, bytes, sizeof(sin6));
        memcpy(address->bytes, &sin6.sin6_addr, 16);
        address->family = 6;
        address->prefix = 128;
        address->port = ntohs(sin6.sin6_port);
    }
    return address->family != 0;
}

size_t query_address_print(const struct query_address *address, char *text)
{
    char host[INET6_ADDRSTRLEN] = "";
    const bool is_v4 = address->family == 4;

    inet_ntop(is_v4 ? AF_INET : AF_INET6, address->bytes, host, sizeof(host));
    return (size_t)snprintf(text, QUERY_ADDRESS_MAX, is_v4 ? "%s:%u" : "[%s]:%u", host,
                            (unsigned)address->port);
}

/* Compares the first `bits` bits. */
static int compare_bits(const uint8_t *bytes, const uint8_t *others, unsigned bits)
{
    const unsigned rest = bits % 8;
    const int difference = memcmp(bytes, others, bits / 8);

    if (difference != 0 || rest == 0)
        return difference;
    return (bytes[bits / 8] >> (8 - rest)) - (others[bits / 8] >> (8 - rest));
}

int query_address_compare(const struct query_address *address, const struct query_address *other)
{
    int difference = address->family - other->family;

    if (difference == 0)
        difference = compare_bits(address->bytes, other->bytes, other->prefix);
    if (difference == 0 && other->has_port)
        difference = address->port - other->port;
    return difference;
}
