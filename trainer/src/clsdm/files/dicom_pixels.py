"""Pixels of a DICOM file as they are stored: one pipeline follows, whatever decoded them.

pydicom and its plug-ins (pylibjpeg, gdcm, Pillow) decode; SimpleITK does where they are missing. SimpleITK's reader
turns MONOCHROME1 round and rescales by itself, which nothing else does, so it is handed a copy without those tags.
Sizes are checked from the header first, lengths and bits afterwards.
"""

import tempfile
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - the usual name
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid

from clsdm.errors import InputError
from clsdm.files.dicom import new_dicom
from clsdm.files.dicom_tags import Tags
from clsdm.files.jpeg_codes import fault
from clsdm.files.jpeg_stream import is_whole, size_of
from clsdm.limits import check_expansion, check_image_size

_COPIED = (
    "SamplesPerPixel", "PlanarConfiguration", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "NumberOfFrames",
)  # fmt: skip
_JPEG_FAMILY, _ENDING_IN_A_MARKER = "1.2.840.10008.1.2.4.", (*range(50, 94), 201, 202, 203)
"""JPEG, JPEG-LS, JPEG 2000 and HTJ2K; the same family holds MPEG."""
_SEQUENTIAL = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
_OLD = int(pydicom.__version__.split(".")[0]) < 3
_NO_DECODER = (
    AttributeError, ImportError, IndexError, KeyError, NotImplementedError, OSError, RuntimeError, ValueError,
)  # fmt: skip


def check_pixel_header(tags: Tags) -> None:
    """Refuse what the header says cannot be an image of a plausible size, and give its numbers the types they should have.

    Raises:
        InputError: names the tag.
    """
    names = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel")
    rows, cols, bits, samples = (tags.count(name, 1 if name == "SamplesPerPixel" else 0) for name in names)
    if min(rows, cols) < 1:
        raise InputError(f"{tags.path}: the DICOM file holds no image (Rows {rows}, Columns {cols})")
    if bits not in (8, 16, 32) or samples not in (1, 3):
        raise InputError(
            f"{tags.path}: BitsAllocated is {bits} and SamplesPerPixel {samples}; expected 8, 16 or 32 and 1 or 3"
        )
    stored = tags.count("BitsStored", bits)
    if not 1 <= stored <= bits:
        raise InputError(f"{tags.path}: BitsStored is {stored}; expected 1 to {bits}, the BitsAllocated")
    frames = frames_of(tags)
    check_image_size(rows, cols, tags.path, bits=bits, samples=samples * frames)
    whole = {"Rows": rows, "Columns": cols, "BitsAllocated": bits, "SamplesPerPixel": samples, "BitsStored": stored}
    whole |= {"HighBit": tags.count("HighBit", stored - 1), "PixelRepresentation": tags.count("PixelRepresentation")}
    for name, value in whole.items():
        if name in tags.dataset:
            del tags.dataset[name]
        setattr(tags.dataset, name, value)


def frames_of(tags: Tags) -> int:
    """NumberOfFrames, 1 where it is missing.

    Raises:
        InputError: none.
    """
    frames = tags.count("NumberOfFrames", 1)
    if frames < 1:
        raise InputError(f"{tags.path}: NumberOfFrames is {frames}; expected 1 or more")
    return frames


def stored_values(tags: Tags, frame: int = 1) -> tuple[np.ndarray, tuple[str, ...]]:
    """One frame as it is stored, colour as RGB, and what its decoder remarked.

    Args:
        tags: of a file that passed :func:`check_pixel_header`.
        frame: from 1.

    Returns:
        (rows, cols) or (rows, cols, 3), any integer type; notes.

    Raises:
        InputError: truncated, damaged, longer than the header says, or in a compression nobody here decodes.
    """
    syntax = tags.dataset.file_meta.TransferSyntaxUID
    try:
        encapsulated = syntax.is_encapsulated
    except ValueError:  # this pydicom does not know it
        raise InputError(
            f"{tags.path}: TransferSyntaxUID {syntax} is unknown here; a newer pydicom may know it"
        ) from None
    if encapsulated:
        _check_encapsulated(tags, frame)
    else:
        _check_length(tags)
    for decode in _decoders(tags.dataset, frame):
        with warnings.catch_warnings(record=True) as remarks:
            warnings.simplefilter("always")
            pixels = decode(tags.dataset, frame)
        if pixels is not None:
            notes = tuple(dict.fromkeys(f"the decoder remarked: {_first_line(remark)}" for remark in remarks))
            return _checked(tags, pixels), notes
    if not syntax.is_encapsulated:
        raise InputError(f"{tags.path}: PixelData is truncated or damaged")
    raise InputError(
        f"{tags.path}: TransferSyntaxUID {syntax.name} ({syntax}) is damaged or cannot be decoded here; "
        "pip install 'clsdm[dicom]' adds decoders"
    )


def _decoders(dataset: Dataset, frame: int) -> list[Callable[[Dataset, int], np.ndarray | None]]:
    """pydicom; and SimpleITK where pydicom may lack the plug-in, for a stream whose size is known to be right.

    A damaged stream makes SimpleITK ask for gigabytes.
    """
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    family = syntax.startswith(_JPEG_FAMILY) and int(syntax.rpartition(".")[2]) in _ENDING_IN_A_MARKER
    complete = find_spec("libjpeg") is not None and find_spec("openjpeg") is not None  # of pylibjpeg
    if not family or complete or size_of(_frame_stream(dataset, frame)) is None:
        return [_by_pydicom]
    return [_by_pydicom, _by_itk]


def through_palette(dataset: Dataset, stored: np.ndarray) -> np.ndarray:
    """(rows, cols, 3) colours of PALETTE COLOR pixels."""
    if _OLD:
        from pydicom.pixel_data_handlers.util import apply_color_lut
    else:
        from pydicom.pixels import apply_color_lut
    colours: np.ndarray = apply_color_lut(stored, dataset)
    return colours


def _first_line(remark: warnings.WarningMessage) -> str:
    return str(remark.message).strip().splitlines()[0][:160]


def _check_length(tags: Tags) -> None:
    dataset = tags.dataset
    expected = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * dataset.BitsAllocated // 8 * frames_of(tags)
    if tags.text("PhotometricInterpretation") == "YBR_FULL_422":  # two of three samples are shared by two pixels
        expected = expected * 2 // 3
    found = len(dataset.PixelData)
    if found < expected:
        raise InputError(
            f"{tags.path}: PixelData is truncated: found {found} bytes, expected {expected} for "
            f"{dataset.Rows}x{dataset.Columns} pixels"
        )
    if found > expected + 1:  # one byte makes the length even
        raise InputError(
            f"{tags.path}: PixelData is longer than its header says: found {found} bytes, expected {expected} for "
            f"{dataset.Rows}x{dataset.Columns} pixels"
        )


def _check_encapsulated(tags: Tags, frame: int) -> None:
    """Against the sizes in the header, and whether a JPEG stream has its end."""
    dataset = tags.dataset
    pixels = dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * frames_of(tags)
    check_expansion(len(dataset.PixelData), pixels * dataset.BitsAllocated // 8, tags.path)
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if not syntax.startswith(_JPEG_FAMILY) or int(syntax.rpartition(".")[2]) not in _ENDING_IN_A_MARKER:
        return
    stream = _frame_stream(dataset, frame)
    if not is_whole(stream):
        raise InputError(f"{tags.path}: PixelData is truncated: the compressed image has no end")
    size = size_of(stream)
    if size not in (None, (dataset.Rows, dataset.Columns)):
        raise InputError(
            f"{tags.path}: the compressed image has {size[0]}x{size[1]} pixels, its header says "  # type: ignore[index]
            f"{dataset.Rows}x{dataset.Columns}"
        )
    if syntax in _SEQUENTIAL and (wrong := fault(stream)):
        raise InputError(f"{tags.path}: PixelData is truncated or damaged: {wrong}")


def _frame_stream(dataset: Dataset, frame: int) -> bytes:
    if _OLD:
        from pydicom.encaps import generate_pixel_data_frame

        frames = generate_pixel_data_frame(dataset.PixelData, frames_of(Tags(dataset, Path())))
    else:
        from pydicom.encaps import generate_frames

        frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    return next(islice(frames, frame - 1, None))


def _by_pydicom(dataset: Dataset, frame: int) -> np.ndarray | None:
    try:
        if _OLD:
            return _of_old_pydicom(dataset, frame)
        from pydicom.pixels import pixel_array

        whole = dataset.file_meta.TransferSyntaxUID.is_encapsulated and not dataset.PixelRepresentation
        more = {"correct_unused_bits": False} if whole else {}  # values are held against BitsStored later
        return pixel_array(dataset, index=frame - 1, **more)  # type: ignore[arg-type]
    except _NO_DECODER:
        return None


def _of_old_pydicom(dataset: Dataset, frame: int) -> np.ndarray:
    """pydicom 2.4 decodes all frames at once and leaves colours as they are."""
    from pydicom.pixel_data_handlers.util import convert_color_space

    pixels = dataset.pixel_array
    pixels = pixels[frame - 1] if int(dataset.get("NumberOfFrames") or 1) > 1 else pixels
    shown = str(dataset.PhotometricInterpretation)
    return convert_color_space(pixels, shown, "RGB") if shown.startswith("YBR_FULL") else pixels


def _by_itk(dataset: Dataset, frame: int) -> np.ndarray | None:
    """Stored values through a copy that says nothing of their meaning; only grey, which is all ITK keeps apart."""
    if dataset.SamplesPerPixel != 1:
        return None
    bare = new_dicom(SecondaryCaptureImageStorage, generate_uid())
    bare.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    for name in _COPIED:
        if name in dataset:
            setattr(bare, name, dataset.get(name))
    bare.PhotometricInterpretation = "MONOCHROME2"
    bare.PixelData = dataset.PixelData
    bare["PixelData"].VR = "OB" if bare.file_meta.TransferSyntaxUID.is_encapsulated else "OW"
    bare["PixelData"].is_undefined_length = bare.file_meta.TransferSyntaxUID.is_encapsulated
    with tempfile.TemporaryDirectory(prefix="clsdm-") as folder:
        path = Path(folder) / "bare.dcm"
        try:
            bare.save_as(path) if _OLD else bare.save_as(path, enforce_file_format=True)
        except _NO_DECODER:
            return None
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError:
            return None
    pixels = sitk.GetArrayFromImage(image)
    return pixels[frame - 1] if pixels.ndim == 3 else pixels


def _checked(tags: Tags, pixels: np.ndarray) -> np.ndarray:
    """The pixels, if they have the size and the range that the header says; bits of an overlay are taken off."""
    dataset = tags.dataset
    if pixels.shape[:2] != (dataset.Rows, dataset.Columns):
        raise InputError(
            f"{tags.path}: the decoded image has {'x'.join(map(str, pixels.shape))} pixels, its header says "
            f"{dataset.Rows}x{dataset.Columns}"
        )
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    if _has_overlay(dataset) and not signed:
        return pixels & (2**bits - 1)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if signed and dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        pixels = _with_sign(pixels, bits)
    whole = _unmasked(dataset, pixels)
    found = int(whole.min()), int(whole.max())
    lossy = (high - low) // 8 if dataset.file_meta.TransferSyntaxUID.is_encapsulated else 0  # those overshoot
    if low - lossy <= found[0] and found[1] <= high + lossy:
        return np.clip(pixels, low, high) if lossy else pixels
    raise InputError(
        f"{tags.path}: the pixels hold {found[0]} to {found[1]}; expected {low} to {high}, by BitsStored {bits}"
    )


def _with_sign(pixels: np.ndarray, bits: int) -> np.ndarray:
    """Values with the sign that a decoder left as their highest bit; any other as they are."""
    if int(pixels.min()) < 0 or not 2 ** (bits - 1) <= int(pixels.max()) < 2**bits:
        return pixels
    wide = pixels.astype(np.int32)
    return np.where(wide >= 2 ** (bits - 1), wide - 2**bits, wide)


def _unmasked(dataset: Dataset, pixels: np.ndarray) -> np.ndarray:
    """Uncompressed grey pixels with all their bits, which pydicom cuts to BitsStored; any other as they are."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated or pixels.ndim != 2 or dataset.BitsStored == dataset.BitsAllocated:
        return pixels
    kind = f"{'<' if syntax.is_little_endian else '>'}{'i' if dataset.PixelRepresentation else 'u'}"
    width = dataset.BitsAllocated // 8
    return np.frombuffer(dataset.PixelData, f"{kind}{width}", count=len(dataset.PixelData) // width)


def _has_overlay(dataset: Dataset) -> bool:
    """Whether bits above BitsStored hold an overlay, as they did until 2004."""
    groups = range(0x6000, 0x6020, 2)
    return any((group, 0x0102) in dataset and dataset[group, 0x0102].value for group in groups)
