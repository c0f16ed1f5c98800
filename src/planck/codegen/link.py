"""A linker in miniature: object files in, one position-independent image out.

It knows as much of ELF as LLVM's small-model, position-independent code needs: code and constants,
laid out one object after the other, and PC-relative references between them. Whatever would need a
loader at run time (absolute addresses, writable data, a function from a library) is refused.

source: System V ABI, AMD64 supplement (relocation types); ELF for the Arm 64-bit Architecture
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

from planck.errors import BuildError

_X86_64, _AARCH64 = 62, 183  # e_machine
_PROGBITS, _SYMTAB, _RELA, _NOBITS = 1, 2, 4, 8  # sh_type
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4  # sh_flags
_UNDEFINED, _LOCAL, _WEAK = 0, 0, 2

_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_ENTRY = struct.Struct("<QQq")
_ALIGN = 64  # one cache line: code of different kernels shares none


@dataclass(frozen=True, slots=True)
class Image:
    """Machine code that runs wherever it is loaded, at any multiple of 4096.

    symbols:  byte offset of each global function, by name
    """

    code: bytes
    symbols: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int


@dataclass(frozen=True, slots=True)
class _Symbol:
    name: str
    binding: int
    section: int
    value: int


@dataclass(frozen=True, slots=True)
class _Object:
    label: str
    data: bytes
    machine: int
    sections: tuple[_Section, ...]
    symbols: tuple[_Symbol, ...]


def link(objects: Mapping[str, bytes]) -> Image:
    """One image of relocatable ELF64 objects, laid out in the order given.

    objects:  object files by label; the label (a kernel's name) appears in errors
    raises:   BuildError for an undefined or doubly defined symbol, writable data, or a relocation
              that only a loader could apply
    """
    parsed = [_parse(label, data) for label, data in objects.items()]
    image = bytearray()
    places: list[dict[int, int]] = [{} for _ in parsed]
    for executable in (True, False):  # code first, then constants
        for place, item in zip(places, parsed, strict=True):
            for number, section in enumerate(item.sections):
                if _wanted(item, section) and bool(section.flags & _EXECUTE) is executable:
                    image += bytes(-len(image) % max(section.align, _ALIGN))
                    place[number] = len(image)
                    image += item.data[section.offset : section.offset + section.size]
    symbols: dict[str, int] = {}
    owners: dict[str, str] = {}
    for place, item in zip(places, parsed, strict=True):
        for symbol in item.symbols:
            if symbol.binding == _LOCAL or symbol.section not in place:
                continue
            if symbol.name in symbols:
                raise BuildError(
                    f"two objects define {symbol.name}",
                    know=f"they are {owners[symbol.name]} and {item.label}",
                )
            symbols[symbol.name] = place[symbol.section] + symbol.value
            owners[symbol.name] = item.label
    for place, item in zip(places, parsed, strict=True):
        _relocate(image, item, place, symbols)
    return Image(bytes(image), dict(sorted(symbols.items())))


def _parse(label: str, data: bytes) -> _Object:
    if data[:6] != b"\x7fELF\x02\x01":
        raise BuildError("not a little-endian ELF64 object", at=label)
    machine = struct.unpack_from("<H", data, 18)[0]
    if machine not in _APPLY:
        raise BuildError(f"planck cannot link ELF machine {machine}", at=label)
    start = struct.unpack_from("<Q", data, 40)[0]
    entry, count, names = struct.unpack_from("<HHH", data, 58)
    rows = [_SECTION.unpack_from(data, start + entry * i) for i in range(count)]
    sections = tuple(
        _Section(_string(data, rows[names][4], r[0]), r[1], r[2], r[4], r[5], r[6], r[7], r[8])
        for r in rows
    )
    symbols: list[_Symbol] = []
    for section in sections:
        if section.kind == _SYMTAB:
            text = sections[section.link].offset
            for at in range(section.offset, section.offset + section.size, _SYMBOL.size):
                name, info, _, index, value, _ = _SYMBOL.unpack_from(data, at)
                symbols.append(_Symbol(_string(data, text, name), info >> 4, index, value))
    return _Object(label, data, machine, sections, tuple(symbols))


def _string(data: bytes, table: int, offset: int) -> str:
    begin = table + offset
    return data[begin : data.index(0, begin)].decode()


def _wanted(item: _Object, section: _Section) -> bool:
    """Whether the section belongs into the image."""
    if not section.flags & _ALLOC or not section.size or section.name == ".eh_frame":
        return False
    constant = section.name.startswith(".data.rel.ro")
    if section.kind == _NOBITS or (section.flags & _WRITE and not constant):
        raise BuildError(
            f"generated code has writable data ({section.name})",
            at=item.label,
            try_="keep state in the arena or in scratch memory",
        )
    return section.kind == _PROGBITS


def _relocate(
    image: bytearray, item: _Object, place: dict[int, int], symbols: dict[str, int]
) -> None:
    apply = _APPLY[item.machine]
    for section in item.sections:
        if section.kind != _RELA or section.info not in place:
            continue
        for at in range(section.offset, section.offset + section.size, _ENTRY.size):
            offset, info, addend = _ENTRY.unpack_from(item.data, at)
            symbol = item.symbols[info >> 32]
            target = _address(item, symbol, place, symbols)
            where = place[section.info] + offset
            if not apply(image, info & 0xFFFFFFFF, where, target, addend):
                raise BuildError(
                    f"relocation type {info & 0xFFFFFFFF} against {symbol.name or 'a section'} "
                    "needs a loader",
                    at=f"{item.label}, {item.sections[section.info].name}+{offset:#x}",
                    know="an image is position independent and has no addresses in it",
                )


def _address(item: _Object, symbol: _Symbol, place: dict[int, int], symbols: dict[str, int]) -> int:
    if symbol.section in place:
        return place[symbol.section] + symbol.value
    if symbol.name in symbols:
        return symbols[symbol.name]
    raise BuildError(
        f"generated code calls {symbol.name or 'a section that is not part of the image'}, "
        "which no kernel defines",
        at=item.label,
        know="an image has no C library: memset, memcpy and expf are not there",
        try_="write the function out, or keep LLVM from making it (no-builtins)",
    )


def _put32(image: bytearray, where: int, value: int) -> bool:
    if not -(1 << 31) <= value < 1 << 31:
        return False
    struct.pack_into("<i", image, where, value)
    return True


def _apply_x86_64(image: bytearray, kind: int, where: int, target: int, addend: int) -> bool:
    """R_X86_64_PC32, PLT32, PC64; a load from the GOT becomes the address itself."""
    if kind in (2, 4):
        return _put32(image, where, target + addend - where)
    if kind == 24:
        struct.pack_into("<q", image, where, target + addend - where)
        return True
    if kind in (9, 41, 42) and image[where - 2] == 0x8B:  # mov foo@GOTPCREL(%rip), reg
        image[where - 2] = 0x8D  # lea foo(%rip), reg
        return _put32(image, where, target + addend - where)
    return False


def _apply_aarch64(image: bytearray, kind: int, where: int, target: int, addend: int) -> bool:
    """PC-relative data, branches, and page addresses with their low twelve bits."""
    value = target + addend
    if kind == 261:  # PREL32
        return _put32(image, where, value - where)
    if kind == 260:  # PREL64
        struct.pack_into("<q", image, where, value - where)
        return True
    (word,) = struct.unpack_from("<I", image, where)
    if kind in (282, 283):  # JUMP26, CALL26
        distance = (value - where) >> 2
        if not -(1 << 25) <= distance < 1 << 25:
            return False
        word |= distance & 0x3FFFFFF
    elif kind == 275:  # ADR_PREL_PG_HI21
        pages = (value >> 12) - (where >> 12)
        if not -(1 << 20) <= pages < 1 << 20:
            return False
        word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    elif kind in _LOW_12:
        word |= (value & 0xFFF) >> _LOW_12[kind] << 10
    else:
        return False
    struct.pack_into("<I", image, where, word)
    return True


# Relocations of the low twelve bits, with the scale of the instruction's immediate:
# ADD_ABS_LO12_NC, LDST8, LDST16, LDST32, LDST64 and LDST128_ABS_LO12_NC.
_LOW_12 = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}

_APPLY = {_X86_64: _apply_x86_64, _AARCH64: _apply_aarch64}
