#include "frame.h"

#include <string.h>

void put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

void put_u32(uint8_t *at, uint32_t value)
{
    put_u16(at, (uint16_t)value);
    put_u16(at + 2, (uint16_t)(value >> 16));
}

void put_u64(uint8_t *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t get_u32(const uint8_t *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

void put_header(uint8_t *at, uint8_t type, uint32_t stream, uint32_t length)
{
    at[0] = FRAME_MAGIC;
    at[1] = type;
    put_u16(at + 2, 0);
    put_u32(at + 4, length);
    put_u32(at + 8, stream);
}

bool take_bytes(struct slice *s, size_t size, const uint8_t **bytes)
{
    if (s->size < size)
        return false;
    *bytes = s->at;
    s->at += size;
    s->size -= size;
    return true;
}

bool take_u8(struct slice *s, uint8_t *value)
{
    const uint8_t *at;
    if (!take_bytes(s, 1, &at))
        return false;
    *value = at[0];
    return true;
}

bool take_u16(struct slice *s, uint16_t *value)
{
    const uint8_t *at;
    if (!take_bytes(s, 2, &at))
        return false;
    *value = (uint16_t)(at[0] | at[1] << 8);
    return true;
}

bool take_u32(struct slice *s, uint32_t *value)
{
    const uint8_t *at;
    if (!take_bytes(s, 4, &at))
        return false;
    *value = get_u32(at);
    return true;
}

bool take_u64(struct slice *s, uint64_t *value)
{
    uint32_t low, high;
    if (s->size < 8 || !take_u32(s, &low) || !take_u32(s, &high))
        return false;
    *value = (uint64_t)high << 32 | low;
    return true;
}

void parser_reset(struct parser *p)
{
    p->header_have = 0;
    p->payload_have = 0;
    p->lost = true;
}

static enum parse_result lose(struct parser *p)
{
    parser_reset(p);
    return PARSE_LOST;
}

/* While lost, keep only a tail of the bytes that may begin a SYNC header. */
static void hunt(struct parser *p)
{
    static const uint8_t wanted[HEADER_SIZE] = {FRAME_MAGIC, T_SYNC, 0, 0, NONCE_SIZE};
    while (p->header_have > 0 && memcmp(p->header, wanted, p->header_have) != 0) {
        p->header_have--;
        memmove(p->header, p->header + 1, p->header_have);
    }
}

static bool header_ok(struct parser *p)
{
    p->type = p->header[1];
    p->length = get_u32(p->header + 4);
    p->stream = get_u32(p->header + 8);
    return p->header[2] == 0 && p->header[3] == 0 && p->length <= MAX_TO_AGENT;
}

/* One byte of header. Returns false when the stream is broken. */
static bool take_header_byte(struct parser *p, uint8_t byte)
{
    if (!p->lost && p->header_have == 0 && byte == 0)
        return true; /* filling between frames */
    p->header[p->header_have++] = byte;
    if (p->lost)
        hunt(p);
    else if (p->header[0] != FRAME_MAGIC)
        return false;
    if (p->header_have == HEADER_SIZE) {
        p->payload_have = 0;
        return header_ok(p);
    }
    return true;
}

size_t parser_feed(struct parser *p, const uint8_t *data, size_t size, enum parse_result *result)
{
    size_t used = 0;
    *result = PARSE_MORE;
    while (used < size) {
        if (p->header_have < HEADER_SIZE) {
            if (!take_header_byte(p, data[used++])) {
                *result = lose(p);
                return used;
            }
        } else if (p->payload_have < p->length) {
            size_t part = p->length - p->payload_have;
            if (part > size - used)
                part = size - used;
            memcpy(p->payload + p->payload_have, data + used, part);
            p->payload_have += part;
            used += part;
        } else {
            if (data[used++] != FRAME_END) {
                *result = lose(p);
                return used;
            }
            p->header_have = 0;
            p->lost = false;
            *result = PARSE_FRAME;
            return used;
        }
    }
    return used;
}
