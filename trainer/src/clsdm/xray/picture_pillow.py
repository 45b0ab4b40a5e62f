"""PNG, JPEG, TIFF and BMP as Pillow reads them, which minds what decides how they are meant.

EXIF and TIFF orientation are applied, MinIsWhite is undone, a missing end is an error. What formats carry to prove that
they are whole (PNG's checksums, the length and checksum of TIFF's strips) is looked at, which Pillow leaves out.
"""

from __future__ import annotations

import logging
import struct
import warnings
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import InputError
from clsdm.files.jpeg_codes import fault
from clsdm.limits import IMAGE_PIXELS, check_image_size
from clsdm.xray.image import chosen_image
from clsdm.xray.notes import EIGHT_BITS, LOSSY
from clsdm.xray.orient import StoredXRay, blank, grey, read_quietly

if TYPE_CHECKING:
    from PIL.Image import Image

# Or what it has to say of damaged files goes to the terminal.
logging.getLogger("PIL").addHandler(logging.NullHandler())

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "MPO")
PLAIN = {
    "1": "L", "L": "L", "LA": "LA", "La": "LA", "P": "RGBA", "PA": "RGBA", "RGB": "RGB", "RGBA": "RGBA", "RGBX": "RGB",
    "I;16": "I;16", "I;16B": "I;16B", "I;16L": "I;16L", "I": "I", "F": "F",
}  # fmt: skip
"""Modes of Pillow that may hold a grey image, and what they are read as."""

_ORIENTATION, _PHOTOMETRIC, _BITS, _COMPRESSION, _STRIPS, _STRIP_BYTES = 274, 262, 258, 259, 273, 279
_COLS, _ROWS = 256, 257
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
"""EXIF orientation: mirrored left to right or not, then turned counter-clockwise by so many quarters."""
_DEFLATE = (8, 32946)
_JPEG_BLOCK, _JPEG_MISSING = 8, 128
"""Rows that a JPEG decoder fills with this grey, without a word, where the data of a progressive one end before the image."""
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_PASSES = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
"""Adam7: first row and step, first column and step of each pass (PNG specification, 8.2)."""


def read_with_pillow(path: Path, frame: int | None, pixels: bool) -> StoredXRay:
    """Read one picture.

    Args:
        path: PNG, JPEG, TIFF or BMP.
        frame: page of a TIFF with several, from 1.
        pixels: False reads the header only.

    Raises:
        InputError: no such picture, a colour one, larger than any X-ray, damaged, or Pillow is not installed.
    """
    with warnings.catch_warnings():
        # Of sizes, which have a limit of their own, and of tags, which go to the terminal.
        warnings.simplefilter("ignore")
        return _read(path, frame, pixels)


def _read(path: Path, frame: int | None, pixels: bool) -> StoredXRay:
    # By name, Pillow would map the file, and then mixes up width and height of a TIFF that is to be turned.
    with path.open("rb") as stream, _opened(path, stream) as picture:
        _turn_to(picture, path, frame)
        cols, rows = picture.size
        check_image_size(rows, cols, path, samples=4)
        if picture.mode not in PLAIN:
            raise InputError(f"{path}: a colour image (mode {picture.mode}), expected one grey channel")
        if pixels:
            _check_whole(picture, path)
        deep_colour = _is_deep_colour(picture, path)
        notes = _notes(picture, deep_colour)
        turned = _orientation(picture)
        if not pixels:
            rows, cols = _stored_size(picture)
            rows, cols = (cols, rows) if _TURNS.get(turned, (False, 0))[1] % 2 else (rows, cols)
            return StoredXRay(blank(rows, cols), str(path), warnings=notes)
        values = _by_itk(path) if deep_colour else _decoded(picture, path)
        white_is_zero = _white_is_zero(picture)
        by_pillow = picture.format == "TIFF" and not deep_colour  # which turns a TIFF as it loads it
    plain, valid, more = grey(values, str(path))
    plain = -plain if white_is_zero else plain
    stored = StoredXRay(plain, str(path), valid, warnings=(*more, *notes))
    mirrored, quarters = _TURNS.get(1 if by_pillow else turned, (False, 0))
    return (stored.flipped(1) if mirrored else stored).rotated(quarters)


def _opened(path: Path, stream: IO[bytes]) -> Image:
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise InputError(f"{path}: reading {path.suffix} files needs Pillow; pip install pillow") from None
    try:
        picture = Image.open(stream)
    except Image.DecompressionBombError:
        raise InputError(f"{path}: more pixels than any panel has; expected at most {IMAGE_PIXELS:,}") from None
    except (UnidentifiedImageError, SyntaxError):
        raise InputError(f"{path}: not an image, or damaged; expected the content of a {path.suffix} file") from None
    if picture.format not in FORMATS:
        raise InputError(f"{path}: a {picture.format} file named {path.suffix}; expected PNG, JPEG, TIFF or BMP")
    return picture


def _turn_to(picture: Image, path: Path, frame: int | None) -> None:
    frames = int(getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1
    if (number := chosen_image(frames, frame, path)) > 1:
        picture.seek(number - 1)


def _tags(picture: Image) -> Any:  # noqa: ANN401 - Pillow's directory of TIFF tags
    return getattr(picture, "tag_v2", {})


def _orientation(picture: Image) -> int:
    """EXIF's number, 1 where there is none."""
    found = _tags(picture).get(_ORIENTATION) or picture.getexif().get(_ORIENTATION) or 1
    return int(found) if isinstance(found, (int, float)) else 1


def _stored_size(picture: Image) -> tuple[int, int]:
    """(rows, cols) before any turn; Pillow gives those of a TIFF after it, in some versions."""
    cols, rows = picture.size
    tags = _tags(picture)
    return int(tags.get(_ROWS, rows)), int(tags.get(_COLS, cols))


def _white_is_zero(picture: Image) -> bool:
    """Whether MinIsWhite is still to be undone; Pillow does it for eight bits and less."""
    return _tags(picture).get(_PHOTOMETRIC) == 0 and picture.mode not in ("1", "L")


def _is_deep_colour(picture: Image, path: Path) -> bool:
    """Whether Pillow would cut colours of 16 bits down to eight."""
    if picture.mode not in ("RGB", "RGBA", "LA"):
        return False
    if picture.format == "PNG":
        return _png_depth(path) == 16
    bits = _tags(picture).get(_BITS, (8,))
    return max(bits if isinstance(bits, tuple) else (bits,)) > 8


def _png_depth(path: Path) -> int:
    with path.open("rb") as stream:
        return stream.read(25)[24]


def _decoded(picture: Image, path: Path) -> np.ndarray:
    try:
        values = np.array(picture.convert(PLAIN[picture.mode]))
    except OSError as error:
        raise InputError(f"{path}: truncated or damaged {picture.format} ({error})") from None
    if picture.format not in ("JPEG", "MPO"):
        return values
    wrong = fault(path.read_bytes())
    if wrong or bool((values[-_JPEG_BLOCK:] == _JPEG_MISSING).all()):
        raise InputError(f"{path}: truncated or damaged JPEG: {wrong or 'it ends before its last rows'}")
    return values


def _by_itk(path: Path) -> np.ndarray:
    image = read_quietly(path)
    if image is None:
        raise InputError(f"{path}: colours of 16 bits that cannot be read here; save it as 16-bit grey")
    pixels: np.ndarray = sitk.GetArrayFromImage(image)
    return pixels


def _notes(picture: Image, deep_colour: bool) -> tuple[str, ...]:
    eight = picture.mode not in ("I;16", "I;16B", "I;16L", "I", "F") and not deep_colour
    notes = (EIGHT_BITS,) if eight else ()
    lossy = picture.format in ("JPEG", "MPO") or _tags(picture).get(_COMPRESSION) in (6, 7)
    return (*notes, LOSSY) if lossy else notes


def _check_whole(picture: Image, path: Path) -> None:
    if picture.format == "PNG":
        _check_png(path)
    elif picture.format == "TIFF":
        _check_strips(picture, path)


def _check_png(path: Path) -> None:
    """Each chunk's CRC, that the last one is there, and that the pixels are as many as the header says."""
    data = memoryview(path.read_bytes())
    at, kind, packed = 8, b"", bytearray()
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind = bytes(data[at + 4 : at + 8])
        end = at + 8 + length
        if end + 4 > len(data) or zlib.crc32(data[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise InputError(f"{path}: truncated or damaged PNG (the checksum of its part {kind.decode('latin-1')!r})")
        if kind == b"IDAT":
            packed += data[at + 8 : end]
        if kind == b"IEND":
            return _check_png_length(bytes(data[16:29]), bytes(packed), path)
        at = end + 4
    raise InputError(f"{path}: truncated PNG: its end is missing")


def _check_png_length(header: bytes, packed: bytes, path: Path) -> None:
    cols, rows, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    bits, expected = depth * _PNG_CHANNELS.get(colour, 0), 0
    for row, row_step, col, col_step in _PNG_PASSES if interlaced else ((0, 1, 0, 1),):
        high, wide = (
            max(0, -((first - count) // step)) for first, count, step in ((row, rows, row_step), (col, cols, col_step))
        )
        expected += high * (1 + (wide * bits + 7) // 8) if wide else 0  # each row begins with its filter
    found = _deflate_length(packed, expected)
    if found != expected:
        raise InputError(f"{path}: truncated or damaged PNG: its pixels unpack to {found} bytes, expected {expected}")


def _check_strips(picture: Image, path: Path) -> None:
    """Strips lie in the file and hold the image; deflated ones unpack to their checksum, and LZW ones to their size."""
    tags, size = _tags(picture), path.stat().st_size
    places, lengths = (_several(tags.get(tag)) for tag in (_STRIPS, _STRIP_BYTES))
    if any(place + length > size for place, length in zip(places, lengths, strict=False)):
        raise InputError(f"{path}: truncated TIFF: its pixels reach beyond the end of the file")
    compression = tags.get(_COMPRESSION, 1)
    if compression not in (1, *_DEFLATE, 5):
        return
    cols, rows = picture.size
    bits = sum(_several(tags.get(_BITS, 1)))
    row_bytes, per_strip = (cols * bits + 7) // 8, int(tags.get(278) or rows)
    if compression == 1:
        expected, found = rows * row_bytes, sum(lengths)
        if lengths and not expected <= found < expected + row_bytes + 4 * len(lengths):  # some writers align them
            raise InputError(f"{path}: damaged TIFF: its strips hold {found} bytes, expected {expected}")
        return
    with path.open("rb") as stream:
        for number, (place, length) in enumerate(zip(places, lengths, strict=True)):
            stream.seek(place)
            data, left = stream.read(length), min(per_strip, rows - number * per_strip)
            unpacked = _lzw_length(data) if compression == 5 else _deflate_length(data, left * row_bytes)
            if unpacked != left * row_bytes:
                raise InputError(
                    f"{path}: damaged TIFF: a strip unpacks to {unpacked} bytes, expected {left * row_bytes}"
                )


def _several(value: Any) -> tuple[int, ...]:  # noqa: ANN401 - of Pillow's directory
    if value is None:
        return ()
    return tuple(int(each) for each in value) if isinstance(value, (tuple, list)) else (int(value),)


def _deflate_length(data: bytes, expected: int) -> int:
    """Bytes that a zlib stream unpacks to, -1 where it is damaged, its checksum included."""
    unpacker = zlib.decompressobj()
    try:
        length = len(unpacker.decompress(data, expected + 1))
    except zlib.error:
        return -1
    return length if unpacker.eof else -1


def _lzw_length(data: bytes) -> int:
    """Bytes that TIFF's LZW codes unpack to, -1 where they are damaged; the codes begin with the highest bit."""
    clear, end = 256, 257
    lengths: list[int] = []
    total, bits, buffer, held, before = 0, 9, 0, 0, 0
    for byte in data:
        buffer, held = ((buffer << 8) | byte) & 0xFFFFFF, held + 8
        if held < bits:
            continue
        held -= bits
        code = (buffer >> held) & ((1 << bits) - 1)
        if code == end:
            return total
        if code == clear:
            lengths, bits, before = [1] * 256 + [0, 0], 9, 0
            continue
        known = len(lengths)
        if known == 0 or code > known or (code == known and not before):
            return -1
        if before:
            lengths.append(before + 1)
        before = lengths[code]
        total += before
        size = len(lengths)
        bits = 12 if size >= 2047 else 11 if size >= 1023 else 10 if size >= 511 else 9
    return total
