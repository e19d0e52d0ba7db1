/* Enlarges a GUID partition table when the disk under it has grown. Pure: bytes in, bytes out. */
#ifndef YURT_GPT_H
#define YURT_GPT_H

#include <stdbool.h>
#include <stdint.h>

#define GPT_SECTOR 512
#define GPT_HEAD (34 * GPT_SECTOR) /* protective MBR, header, 128 entries of 128 bytes */
#define GPT_TAIL (33 * GPT_SECTOR) /* the second copy, at the disk's end: entries, then the header */

struct gpt_grown {
    uint8_t head[GPT_HEAD], tail[GPT_TAIL]; /* what to write: the tail first, at sector `tail_at` */
    uint64_t tail_at;
    uint64_t start, sectors; /* of the partition, grown */
};

/*
 * Let partition `number` (from 1), the last one on the disk, end where a disk of `disk_sectors` has room. False for a
 * damaged or foreign table, for a partition that is not the last, and when there is nothing to gain.
 */
bool gpt_enlarge(const uint8_t head[GPT_HEAD], uint64_t disk_sectors, uint32_t number, struct gpt_grown *grown);

#endif
