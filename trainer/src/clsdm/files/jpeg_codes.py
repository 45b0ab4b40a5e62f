"""Whether a JPEG holds as many codes as its header says it has pixels.

The format has no checksum. Where codes are missing libjpeg makes pixels up, and what is left behind the last pixel it passes
over; it tells nobody who asks through Pillow or pydicom. So the codes are counted here, without making pixels of them (ITU
T.81, F.2.2): each is looked up in a table, which says how many bits it takes and how many coefficients it stands for.
Counted are sequential files with Huffman codes in one scan, which is what X-rays are stored as; others pass.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

_SEQUENTIAL, _HUFFMAN, _START, _END, _RESTART = (0xC0, 0xC1), 0xC4, 0xDA, 0xD9, 0xDD
_RESTARTS, _ALONE = range(0xD0, 0xD8), (0x01, 0xD8)
_WINDOW = 16
"""Bits, the longest code."""
_BLOCK = 64
"""Coefficients; a step of that many ends the block."""
_LONGEST_BLOCK = 512
"""Bytes, and more."""


@dataclass
class _Header:
    """Headers of a JPEG: sizes, sampling (h, v) of each component, code lengths and symbols by class and number."""

    rows: int = 0
    cols: int = 0
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    codes: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    scan: list[tuple[int, int]] = field(default_factory=list)
    interval: int = 0
    parts: list[bytes] = field(default_factory=list)


def fault(stream: bytes) -> str:
    """The fault in the codes of a JPEG, in words; "" where nothing is, or they are not counted here.

    Args:
        stream: from its first marker on; what follows its end is not looked at.
    """
    try:
        header = _read(stream)
        return "" if header is None else _counted(header)
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return "its parts contradict each other"


def _read(stream: bytes) -> _Header | None:
    """The header and the codes, one part for each restart; None for another kind of JPEG."""
    found, at, sequential = _Header(), 2, False
    while stream[at] == 0xFF and (marker := stream[at + 1]) != _END:
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        body = b"" if marker in _RESTARTS else stream[at + 4 : at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")]
        at += 2 if marker in _RESTARTS else 4 + len(body)
        if 0xC0 <= marker <= 0xCF and marker not in (_HUFFMAN, 0xC8, 0xCC):
            sequential = marker in _SEQUENTIAL
            found.rows, found.cols = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
            found.sampling = {body[i]: (body[i + 1] >> 4, body[i + 1] & 15) for i in range(6, 6 + 3 * body[5], 3)}
        elif marker == _HUFFMAN:
            found.codes |= _code_tables(body)
        elif marker == _RESTART:
            found.interval = int.from_bytes(body, "big")
        elif marker == _START:
            if not sequential or found.scan or body[0] != len(found.sampling) or not found.rows:
                return None
            found.scan = [(body[i], body[i + 1]) for i in range(1, 1 + 2 * body[0], 2)]
        if marker == _START or marker in _RESTARTS:
            begin, at = at, _next_marker(stream, at)
            found.parts.append(stream[begin:at].rstrip(b"\xff").replace(b"\xff\0", b"\xff"))
    if stream[at : at + 1] != b"\xff":
        raise ValueError("no marker")
    return found if found.parts else None


def _code_tables(body: bytes) -> dict[int, tuple[bytes, bytes]]:
    """Number of codes of each length, and the symbols, by class and number of the table."""
    tables, at = {}, 0
    while at < len(body):
        counts = body[at + 1 : at + 17]
        tables[body[at]] = counts, body[at + 17 : at + 17 + sum(counts)]
        at += 17 + sum(counts)
    return tables


def _next_marker(stream: bytes, at: int) -> int:
    while (at := stream.find(b"\xff", at)) >= 0:
        if stream[at + 1 : at + 2] not in (b"\0", b"\xff"):
            return at
        at += 2 if stream[at + 1] == 0 else 1
    return len(stream)


def _counted(header: _Header) -> str:
    wide, high = (max(each[i] for each in header.sampling.values()) for i in (0, 1))
    alone = len(header.sampling) == 1
    blocks = []
    for component, tables in header.scan:
        count = 1 if alone else header.sampling[component][0] * header.sampling[component][1]
        blocks += [(_steps(*header.codes[tables >> 4]), *_several(*header.codes[0x10 | tables & 15]))] * count
    wide, high = (1, 1) if alone else (wide, high)
    units = -(-header.cols // (8 * wide)) * -(-header.rows // (8 * high))
    for part, count in zip(header.parts, _shares(units, header.interval), strict=True):
        left = _left(part, blocks, count)
        if left:
            return left
    return ""


def _shares(units: int, interval: int) -> Iterator[int]:
    """How many of the units (MCU) each part holds."""
    step = interval or units
    return (min(step, units - first) for first in range(0, units, step))


def _steps(counts: bytes, symbols: bytes, *, dc: bool = True) -> list[int]:
    """By the next 16 bits: the bits that a code takes with the number behind it, times 256, and its coefficients; 0: none."""
    table, code, at = [0] * (1 << _WINDOW), 0, 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[at : at + count]:
            run, size = symbol >> 4, symbol & 15
            step = 1 if dc else _BLOCK if symbol == 0 else run + 1
            first, span = code << (_WINDOW - length), 1 << (_WINDOW - length)
            table[first : first + span] = [(length + (symbol if dc else size)) << 8 | step] * span
            code += 1
        code, at = code << 1, at + count
    return table


def _several(counts: bytes, symbols: bytes) -> tuple[list[int], list[int]]:
    """Steps of one code, and of as many as lie in the next 16 bits together, up to the end of a block."""
    one = _steps(counts, symbols, dc=False)
    steps = np.array(one)
    bits, coefficients = steps >> 8, steps & 255
    windows = np.arange(1 << _WINDOW)
    for _ in range(_WINDOW):
        known = np.minimum(bits, _WINDOW)
        after = steps[(windows << known) & ((1 << _WINDOW) - 1)]
        fits = (steps > 0) & (coefficients < _BLOCK) & (after > 0) & (bits + (after >> 8) <= _WINDOW)
        fits &= ((after & 255) == _BLOCK) | (coefficients + (after & 255) < _BLOCK)
        bits, coefficients = bits + np.where(fits, after >> 8, 0), coefficients + np.where(fits, after & 255, 0)
    return one, (bits << 8 | coefficients).tolist()


def _left(part: bytes, blocks: list[tuple[list[int], list[int], list[int]]], units: int) -> str:
    """The fault in one part of the codes."""
    padded = np.frombuffer(part + bytes(_LONGEST_BLOCK), np.uint8).astype(np.uint32)
    words = (padded[:-3] << 24 | padded[1:-2] << 16 | padded[2:-1] << 8 | padded[3:]).data
    at, end = 0, 8 * len(part)
    for _ in range(units):
        if at >= end:
            return "its data end before its pixels do"
        for dc, one, several in blocks:
            step = dc[words[at >> 3] >> (16 - (at & 7)) & 0xFFFF]
            at, done = at + (step >> 8), 1
            while done < _BLOCK and step:
                window = words[at >> 3] >> (16 - (at & 7)) & 0xFFFF
                step = several[window]
                if done + (step & 63) >= _BLOCK:
                    step = one[window]
                at, done = at + (step >> 8), done + (step & 255)
            if not step:
                return "a code in it means nothing"
            if at > end:
                return "its data end before its pixels do"
    return "data are left behind its last pixel" if end - at >= 8 else ""
