/* Source: UEFI specification, chapter 5, "GUID Partition Table Disk Layout". storage/gpt.py does the same on the host. */
#include "gpt.h"

#include <string.h>

#define ENTRIES 128
#define ENTRY_SIZE 128
#define TABLE_SECTORS 32
#define HEADER_SIZE 92
#define PROTECTIVE 0xEE

static uint64_t get(const uint8_t *at, int size)
{
    uint64_t value = 0;
    while (size-- > 0)
        value = value << 8 | at[size];
    return value;
}

static void put(uint8_t *at, int size, uint64_t value)
{
    for (int i = 0; i < size; i++, value >>= 8)
        at[i] = (uint8_t)value;
}

static uint32_t crc32(const uint8_t *data, size_t size)
{
    uint32_t crc = ~0U;
    for (size_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320U : 0);
    }
    return ~crc;
}

static bool sound(const uint8_t *head)
{
    uint8_t plain[HEADER_SIZE];
    const uint8_t *header = head + GPT_SECTOR;
    if (memcmp(header, "EFI PART", 8) != 0 || get(header + 12, 4) != HEADER_SIZE || get(header + 24, 8) != 1)
        return false;
    if (get(header + 72, 8) != 2 || get(header + 80, 4) != ENTRIES || get(header + 84, 4) != ENTRY_SIZE)
        return false;
    memcpy(plain, header, HEADER_SIZE);
    put(plain + 16, 4, 0);
    return crc32(plain, HEADER_SIZE) == get(header + 16, 4) &&
           crc32(head + 2 * GPT_SECTOR, ENTRIES * ENTRY_SIZE) == get(header + 88, 4);
}

static bool is_last(const uint8_t *entries, uint32_t number)
{
    static const uint8_t unused[16];
    const uint8_t *own = entries + (number - 1) * ENTRY_SIZE;
    if (memcmp(own, unused, 16) == 0)
        return false;
    for (uint32_t i = 0; i < ENTRIES; i++)
        if (i != number - 1 && memcmp(entries + i * ENTRY_SIZE, unused, 16) != 0 &&
            get(entries + i * ENTRY_SIZE + 40, 8) >= get(own + 40, 8))
            return false;
    return true;
}

static void seal(uint8_t *header, uint64_t own, uint64_t other, uint64_t table, uint32_t entries_crc)
{
    put(header + 24, 8, own);
    put(header + 32, 8, other);
    put(header + 72, 8, table);
    put(header + 88, 4, entries_crc);
    put(header + 16, 4, 0);
    put(header + 16, 4, crc32(header, HEADER_SIZE));
}

bool gpt_enlarge(const uint8_t head[GPT_HEAD], uint64_t disk_sectors, uint32_t number, struct gpt_grown *grown)
{
    if (number < 1 || number > ENTRIES || !sound(head) || !is_last(head + 2 * GPT_SECTOR, number))
        return false;
    uint8_t *header = grown->head + GPT_SECTOR, *entries = grown->head + 2 * GPT_SECTOR;
    uint8_t *entry = entries + (number - 1) * ENTRY_SIZE;
    memcpy(grown->head, head, GPT_HEAD);
    uint64_t backup = get(header + 32, 8), last = get(header + 48, 8);
    uint64_t start = get(entry + 32, 8), end = get(entry + 40, 8);
    if (backup < TABLE_SECTORS + 1 || last > backup - TABLE_SECTORS - 1 || end > last || start > end ||
        disk_sectors <= backup + 1 || disk_sectors >> 54)
        return false;
    uint64_t new_last = last + (disk_sectors - 1 - backup); /* what was kept free behind it stays free */
    put(header + 48, 8, new_last);
    put(entry + 40, 8, new_last);
    uint32_t crc = crc32(entries, ENTRIES * ENTRY_SIZE);
    grown->tail_at = disk_sectors - TABLE_SECTORS - 1;
    memcpy(grown->tail, entries, ENTRIES * ENTRY_SIZE);
    memcpy(grown->tail + ENTRIES * ENTRY_SIZE, header, GPT_SECTOR);
    seal(grown->tail + ENTRIES * ENTRY_SIZE, disk_sectors - 1, 1, grown->tail_at, crc);
    seal(header, 1, disk_sectors - 1, 2, crc);
    if (grown->head[446 + 4] == PROTECTIVE)
        put(grown->head + 446 + 12, 4, disk_sectors - 1 > 0xFFFFFFFF ? 0xFFFFFFFF : disk_sectors - 1);
    grown->start = start;
    grown->sectors = new_last - start + 1;
    return true;
}
