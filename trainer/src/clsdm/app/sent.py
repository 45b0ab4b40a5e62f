"""Messages to a server: X-rays and volumes as arrays with their geometry, and nobody's name.

A message is one line of JSON, in which ``files`` says how many bytes each file has, and then the bytes of those files, one
after the other. No torch.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import InputError, reading
from clsdm.files.atomic import room_for
from clsdm.files.names import inside, nameless, plain_name
from clsdm.files.strict_json import from_plain, parse_json
from clsdm.geometry.view import View
from clsdm.limits import (
    REQUEST_LINE_BYTES,
    SENT_BYTES,
    SENT_FILES,
    SENT_LEVELS,
    check_bytes,
    check_image_size,
    check_volume_size,
)
from clsdm.volume.read import read_ct
from clsdm.xray.image import XRay, check_image

BLOCK_BYTES = 1 << 20
_SMALLER = {"image": (np.uint8, np.uint16), "volume": (np.int16,)}
"""Types in which values travel where that changes none of them."""


@dataclass(frozen=True)
class SentXRay:
    """An ``XRay`` whose pixels are .npy files beside the message; without its source and its patient.

    Attributes:
        label: in place of its source, in messages.
        image: name of the file.
        view: as in ``XRay``, and so all others.
        valid: name of the file, or None.
        origins: likewise.
        warnings: likewise.
        isocentre_mm: likewise.
    """

    label: str
    image: str
    view: View
    valid: str | None = None
    origins: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()
    isocentre_mm: tuple[float, float, float] | None = None


def pack_xray(xray: XRay, number: int, folder: Path) -> dict[str, Any]:
    """A :class:`SentXRay` as JSON types, with its files in ``folder``."""
    label = f"X-ray {number}"
    names = {"image": f"image{number}.npy", "valid": None if xray.valid is None else f"valid{number}.npy"}
    save_array(folder / str(names["image"]), _smaller(xray.image, "image"))
    if xray.valid is not None:
        save_array(folder / str(names["valid"]), xray.valid)
    warnings = [nameless(text, {xray.source: label}) for text in xray.warnings]
    return {
        **names,
        "label": label,
        "view": xray.view.to_plain(),
        "origins": xray.origins,
        "warnings": warnings,
        "isocentre_mm": xray.isocentre_mm and list(xray.isocentre_mm),
    }


def unpack_xray(plain: Any, folder: Path, where: str) -> XRay:  # noqa: ANN401 - untrusted JSON
    """The inverse of :func:`pack_xray`.

    Raises:
        InputError: no such X-ray.
    """
    sent = from_plain(SentXRay, plain, where)
    label = re.sub(r"[^\w -]", "", sent.label)[:40] or "X-ray"
    image = read_array(folder, sent.image, f"{label}: image", 2).astype(np.float32)
    valid = None if sent.valid is None else read_array(folder, sent.valid, f"{label}: valid", 2).astype(bool)
    if valid is not None and valid.shape != image.shape:
        raise InputError(f"{label}: valid has {valid.shape} pixels; expected {image.shape}, as its image")
    origins = {str(name): str(origin) for name, origin in (sent.origins or {}).items()}
    xray = XRay(image, sent.view, valid, label, None, origins, sent.warnings, sent.isocentre_mm)
    check_image(xray)
    return xray


def pack_volume(path: str, name: str, folder: Path) -> str:
    """A volume's file as one of voxels and their place alone, in ``folder``; its name.

    Raises:
        InputError: it cannot be read.
    """
    ct = read_ct(path)
    image = sitk.GetImageFromArray(_smaller(ct.hu, "volume"))
    image.CopyInformation(ct.to_sitk())
    file = folder / f"{name}.mha"
    with room_for(file, ct.hu.nbytes):
        sitk.WriteImage(image, str(file))
    return file.name


def _smaller(array: np.ndarray, kind: str) -> np.ndarray:
    for dtype in _SMALLER[kind]:
        limits = np.iinfo(dtype)
        if limits.min <= array.min() and array.max() <= limits.max and bool((array == np.rint(array)).all()):
            return array.astype(dtype)
    return array


def save_array(path: Path, array: np.ndarray) -> None:
    """Write the .npy file that :func:`read_array` reads.

    Raises:
        InputError: the disk has no room for it.
    """
    with room_for(path, array.nbytes):
        np.save(path, array, allow_pickle=False)


def read_array(folder: Path, name: str, where: str, axes: int) -> np.ndarray:
    """Numbers out of a .npy file that was received, looked at before they are read.

    Args:
        folder: of what was received.
        name: of the file.
        where: begins messages.
        axes: 2 of an image (rows, columns), 3 of a volume.

    Raises:
        InputError: no such array, or too large.
    """
    path = inside(folder, name, where)
    with reading(where, "array"):
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
    if not isinstance(mapped, np.ndarray):  # an archive of arrays
        raise InputError(f"{where}: expected an array, found {type(mapped).__name__}")
    if mapped.ndim != axes or mapped.dtype.kind not in "buif":
        raise InputError(f"{where}: expected an array of numbers with {axes} axes, found {mapped.shape} {mapped.dtype}")
    bits = 8 * mapped.dtype.itemsize
    if axes == 2:
        check_image_size(mapped.shape[0], mapped.shape[1], where, bits=bits)
    else:
        check_volume_size(mapped.shape, where, bits=bits)
    return np.array(mapped)


# --- messages ---


def message_of(message: dict[str, Any], files: Sequence[Path]) -> tuple[int, Iterator[bytes]]:
    """A message with its files: how many bytes it has, and the bytes, block by block."""
    sizes = {file.name: file.stat().st_size for file in files}
    line = json.dumps({**message, "files": sizes}, allow_nan=False).encode("ascii") + b"\n"

    def blocks() -> Iterator[bytes]:
        yield line
        for file in files:
            with file.open("rb") as stream:
                while block := stream.read(BLOCK_BYTES):
                    yield block

    return len(line) + sum(sizes.values()), blocks()


def read_files(sizes: Any, stream: IO[bytes], folder: Path, where: str) -> list[Path]:  # noqa: ANN401 - untrusted JSON
    """The files of a message, written to ``folder``; ``sizes`` is its field ``files``.

    Raises:
        InputError: too many or too large, of impossible names, cut, or the disk is full.
    """
    fits = isinstance(sizes, dict) and all(type(size) is int and size >= 0 for size in sizes.values())
    if not fits or len(sizes) > SENT_FILES:
        raise InputError(f"{where}: files: expected at most {SENT_FILES} sizes by name")
    check_bytes(sum(sizes.values()), SENT_BYTES, where, "arrays")
    paths = [folder / plain_name(name, f"{where}: files") for name in sizes]
    for path, size in zip(paths, sizes.values(), strict=True):
        if path.exists():
            raise InputError(f"{where}: files: {path.name} is there already")
        with room_for(path, size):
            file = path.open("xb")
        with file:
            left = size
            while left and (block := stream.read(min(left, BLOCK_BYTES))):
                with room_for(path, left):  # not around what the connection says, which is no fault of the disk
                    file.write(block)
                    file.flush()
                left -= len(block)
        if left:
            raise InputError(f"{where}: {path.name}: ended {left:,} bytes early")
    return paths


def read_line(stream: IO[bytes], where: str) -> dict[str, Any]:
    """The line of a message; empty ones, which only say that somebody is there, are passed over.

    Raises:
        ConnectionError: there is none.
        InputError: too long, or no JSON object.
    """
    while (line := stream.readline(REQUEST_LINE_BYTES + 1)) == b"\n":
        pass
    if not line:
        raise ConnectionError("it ended in the middle")
    if len(line) > REQUEST_LINE_BYTES:
        raise InputError(f"{where}: a line of more than {REQUEST_LINE_BYTES:,} bytes")
    message = parse_json(line, where)
    if not isinstance(message, dict):
        raise InputError(f"{where}: expected an object, found {type(message).__name__}")
    _check_depth(message, where)
    return message


def _check_depth(message: Any, where: str) -> None:  # noqa: ANN401 - JSON types
    """Refuse what functions that call themselves for each level could not follow."""
    level = [message]
    for _ in range(SENT_LEVELS):
        lists = (each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list))
        level = [part for each in lists for part in each]
    if level:
        raise InputError(f"{where}: is nested more than {SENT_LEVELS} levels deep")


def with_texts(plain: Any, change: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON types
    """JSON types with every text in them changed."""
    if isinstance(plain, str):
        return change(plain)
    if isinstance(plain, dict):
        return {key: with_texts(value, change) for key, value in plain.items()}
    return [with_texts(value, change) for value in plain] if isinstance(plain, list | tuple) else plain
