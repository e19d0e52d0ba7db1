"""The accelerator probe's guest: an ELF image of a few hundred bytes that does what every 64-bit kernel does.

It enters long mode with page tables of its own, changes a mapping under its own feet some thousand times, checks
through the mapping which page it sees, and then computes for about 20 ms of a real processor. The result leaves by the
`isa-debug-exit` port. On a /dev/kvm that cannot run ordinary guests it hangs, or, where KVM interprets a guest's
kernel instruction by instruction, takes half a minute. Sources: PVH boot ABI (Xen, docs/misc/pvh.pandoc), Intel SDM
volume 3A.
"""

import struct

EXIT_PORT = 0xF4
GOOD, BAD = 0x10, 0x20  # written to the port; QEMU ends with status 2 * value + 1
GOOD_STATUS = 2 * GOOD + 1
BASE = 0x100000  # where the image is loaded and entered, in 32-bit protected mode without paging
LONG_MODE, GDT = 0x100, 0x200  # offsets of the 64-bit code and of the descriptor table
TABLES = 0x200000  # three pages: PML4, page directory pointers, page directory
WINDOW = 0x400000  # linear address that is mapped to either of two 2 MiB pages
FIRST, SECOND = 0x400083, 0x600083  # their directory entries: present, writable, large
REMAP_ROUNDS, COMPUTE_ROUNDS = 5_000, 20_000_000
_XEN_PHYS32_ENTRY = 18


def _u32(value: int) -> bytes:
    return struct.pack("<I", value)


def _store32(address: int, value: int) -> bytes:
    return b"\xc7\x05" + _u32(address) + _u32(value)  # movl $value, address


def protected_mode_code() -> bytes:
    """From the entry point to long mode."""
    directory = TABLES + 0x2000
    return b"".join(
        (
            b"\xfc\x31\xc0",  # cld; xor %eax,%eax
            b"\xbf" + _u32(TABLES),  # mov $TABLES,%edi
            b"\xb9" + _u32(3 * 4096 // 4),  # mov $words,%ecx
            b"\xf3\xab",  # rep stosl: clear the tables
            _store32(TABLES, TABLES + 0x1003),  # PML4[0] -> pointers
            _store32(TABLES + 0x1000, directory | 3),  # pointers[0] -> directory
            _store32(directory, 0x000083),  # the first 4 MiB map to themselves
            _store32(directory + 8, 0x200083),
            _store32(directory + 16, FIRST),
            b"\xb8" + _u32(TABLES) + b"\x0f\x22\xd8",  # mov $TABLES,%eax; mov %eax,%cr3
            b"\x0f\x20\xe0\x83\xc8\x20\x0f\x22\xe0",  # cr4 |= PAE
            b"\xb9\x80\x00\x00\xc0\x0f\x32\x0d\x00\x01\x00\x00\x0f\x30",  # EFER |= LME
            b"\x0f\x20\xc0\x0d\x01\x00\x00\x80\x0f\x22\xc0",  # cr0 |= PG | PE
            b"\x0f\x01\x15" + _u32(BASE + GDT),  # lgdt
            b"\xea" + _u32(BASE + LONG_MODE) + b"\x08\x00",  # ljmp to 64-bit code
        )
    )


def long_mode_code() -> bytes:
    """Remap the window under a 64-bit program's feet again and again, compute for a while, report what was seen."""

    def remap(entry: int) -> bytes:
        return b"\xc7\x04\x25" + _u32(TABLES + 0x2010) + _u32(entry)  # movl $entry, directory[2]

    write_both = b"".join(
        (
            remap(FIRST) + b"\x0f\x01\x3b",  # invlpg (%rbx)
            b"\xc7\x03" + _u32(0x11111111),  # movl $1...,(%rbx): into the first page
            remap(SECOND) + b"\x0f\x01\x3b",
            b"\xc7\x03" + _u32(0x22222222),  # movl $2...,(%rbx): into the second
        )
    )
    reload_tables = b"\x0f\x22\xd8"  # mov %rax,%cr3
    compare = b"\x81\x3b" + _u32(0x11111111)  # cmpl $1...,(%rbx): is it the first page again?
    count = b"\xff\xc9\x0f\x85"  # dec %ecx; jnz (32-bit distance)
    body = write_both + remap(FIRST) + reload_tables + compare
    loop = count + struct.pack("<i", -(len(body) + 2 + len(count) + 4))
    compute = b"\xb9" + _u32(COMPUTE_ROUNDS) + b"\x01\xca\x89\x53\x08\xff\xc9\x75\xf7"  # add, store, dec, jnz
    good = bytes((0xB0, GOOD, 0xEB, 0x02))  # mov $GOOD,%al; jmp over the next
    report = b"\xba" + _u32(EXIT_PORT) + b"\xee\xf4\xeb\xfd"  # mov $port,%edx; out %al,(%dx); hlt for ever
    return b"".join(
        (
            b"\xb8\x10\x00\x00\x00\x8e\xd8\x8e\xc0\x8e\xd0",  # data segments
            b"\x48\xc7\xc3" + _u32(WINDOW),  # mov $WINDOW,%rbx
            b"\x48\xc7\xc0" + _u32(TABLES),  # mov $TABLES,%rax
            b"\xb9" + _u32(REMAP_ROUNDS),  # mov $rounds,%ecx
            body + b"\x75" + bytes((len(loop) + len(compute) + len(good),)),  # jne bad
            loop,
            compute,
            good,
            bytes((0xB0, BAD)),  # bad: mov $BAD,%al
            report,
        )
    )


def descriptor_table() -> bytes:
    """The operand of lgdt, and behind it: nothing, 64-bit code, flat data."""
    entries = struct.pack("<QQQ", 0, 0x00AF9B000000FFFF, 0x00CF93000000FFFF)
    return struct.pack("<HIxx", len(entries) - 1, BASE + GDT + 8) + entries


def image() -> bytes:
    """The whole ELF file, with the note by which QEMU finds the 32-bit entry point."""
    code = protected_mode_code().ljust(LONG_MODE, b"\xf4") + long_mode_code().ljust(GDT - LONG_MODE, b"\xf4")
    code += descriptor_table()
    note = struct.pack("<III4sI", 4, 4, _XEN_PHYS32_ENTRY, b"Xen\0", BASE)
    notes_at, code_at = 64 + 2 * 56, 0x1000
    header = struct.pack(
        "<4sBBB9xHHIQQQIHHHHHH",
        *(b"\x7fELF", 2, 1, 1),  # 64-bit, little-endian
        *(2, 62, 1, BASE, 64, 0, 0),  # executable for x86-64; program headers follow at once
        *(64, 56, 2, 0, 0, 0),
    )
    load = struct.pack("<IIQQQQQQ", 1, 7, code_at, BASE, BASE, len(code), len(code), 0x1000)
    note_header = struct.pack("<IIQQQQQQ", 4, 4, notes_at, 0, 0, len(note), len(note), 4)
    return (header + load + note_header + note).ljust(code_at, b"\0") + code
