/* Frames: a bounded parser for what the host sends, and helpers to write frames and to read payloads. */
#ifndef YURT_FRAME_H
#define YURT_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto.h"

enum parse_result { PARSE_MORE, PARSE_FRAME, PARSE_LOST };

struct parser {
    uint8_t header[HEADER_SIZE];
    size_t header_have;
    size_t payload_have;
    uint32_t length;
    uint32_t stream;
    uint8_t type;
    bool lost; /* skip everything up to the next SYNC */
    uint8_t payload[MAX_TO_AGENT];
};

/* Start (again) in the lost state: nothing counts before a SYNC. */
void parser_reset(struct parser *p);

/* Take bytes up to the end of one frame. Returns how many were taken; `result` says what that made. */
size_t parser_feed(struct parser *p, const uint8_t *data, size_t size, enum parse_result *result);

/* Write a header; the payload follows it, then FRAME_END. */
void put_header(uint8_t *at, uint8_t type, uint32_t stream, uint32_t length);
void put_u16(uint8_t *at, uint16_t value);
void put_u32(uint8_t *at, uint32_t value);
void put_u64(uint8_t *at, uint64_t value);

/* A cursor over bytes from outside; every take checks the bounds. */
struct slice {
    const uint8_t *at;
    size_t size;
};
bool take_u8(struct slice *s, uint8_t *value);
bool take_u16(struct slice *s, uint16_t *value);
bool take_u32(struct slice *s, uint32_t *value);
bool take_u64(struct slice *s, uint64_t *value);
bool take_bytes(struct slice *s, size_t size, const uint8_t **bytes);

#endif
