"""Size and end of a compressed image, by its own bytes. Decoders believe the file's header, or make up the rest."""

import struct

END = b"\xff\xd9"
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
"""Markers of JPEG and JPEG-LS that are followed by the size."""
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))


def is_whole(stream: bytes) -> bool:
    """Whether a stream of JPEG, JPEG-LS or JPEG 2000 has its end."""
    return stream.rstrip(b"\0").endswith(END)


def size_of(stream: bytes) -> tuple[int, int] | None:
    """(rows, cols) of a stream of JPEG, JPEG-LS or JPEG 2000; None where it does not say."""
    try:
        if stream[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: start of codestream, and its SIZ marker
            width, height, left, top = struct.unpack_from(">4I", stream, 8)
            return height - top, width - left
        return _jpeg_size(stream)
    except struct.error:
        return None


def _jpeg_size(stream: bytes) -> tuple[int, int] | None:
    at = 2
    while stream[at : at + 1] == b"\xff":
        marker = stream[at + 1]
        if marker in _FRAMES:
            rows, cols = struct.unpack_from(">2H", stream, at + 5)
            return (rows, cols) if rows else None  # 0: the number of lines follows the first scan
        at += 2 if marker in _WITHOUT_LENGTH else 2 + struct.unpack_from(">H", stream, at + 2)[0]
    return None
