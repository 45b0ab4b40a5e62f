"""Ways to damage a file, by what it is made of: bytes, JSON, the tags of DICOM, the headers of NIfTI, PNG and text.

A mutation takes the content and a random generator and returns the damaged content with its name. Some of them make the
file contradict itself (a size that its data do not have, a part that is missing) or physics (a spacing of NaN): whoever
reads such a file must refuse it, unless what was damaged does not matter and the same content comes out.
"""

import io
import json
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

Random = np.random.Generator


@dataclass(frozen=True)
class Damaged:
    """A damaged file: its bytes, how, whether it may now contradict itself, and whether physics does."""

    data: bytes
    how: str
    contradicts: bool = False
    impossible: bool = False


# Bytes


def cut(data: bytes, random: Random) -> Damaged:
    """The end is missing: little of it, or nearly everything."""
    keep = (
        int(len(data) * random.random()) if random.random() < 0.6 else max(0, len(data) - int(random.integers(1, 65)))
    )
    return Damaged(data[:keep], f"cut at {keep}", contradicts=True)


def flip_bit(data: bytes, random: Random) -> Damaged:
    """One bit anywhere, half of the time in the first kilobyte, where headers are."""
    at = int(random.integers(min(len(data), 1024 if random.random() < 0.5 else len(data))))
    bit = int(random.integers(8))
    return Damaged(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], f"bit {bit} of byte {at}")


def overwrite(data: bytes, random: Random) -> Damaged:
    """A run of bytes becomes zero, 255 or noise."""
    at, count = _run(data, random)
    fill = [bytes(count), b"\xff" * count, random.bytes(count)][int(random.integers(3))]
    return Damaged(data[:at] + fill + data[at + count :], f"{count} bytes at {at} overwritten")


def remove(data: bytes, random: Random) -> Damaged:
    """A run of bytes is missing, everything behind it has moved."""
    at, count = _run(data, random)
    return Damaged(data[:at] + data[at + count :], f"{count} bytes at {at} missing", contradicts=True)


def repeat(data: bytes, random: Random) -> Damaged:
    """A run of bytes is there twice."""
    at, count = _run(data, random)
    return Damaged(data[: at + count] + data[at:], f"{count} bytes at {at} twice")


def append(data: bytes, random: Random) -> Damaged:
    """Something follows that does not belong to the file."""
    return Damaged(data + random.bytes(int(random.integers(1, 4096))), "noise behind the end")


def replace_all(data: bytes, random: Random) -> Damaged:
    """Another file altogether: empty, text, zeros, noise."""
    kind = int(random.integers(4))
    content = [b"", b"no such thing\n" * 40, bytes(len(data)), random.bytes(len(data))][kind]
    return Damaged(content, ("empty", "text", "zeros", "noise")[kind], contradicts=True)


def _run(data: bytes, random: Random) -> tuple[int, int]:
    at = int(random.integers(min(len(data), 1024 if random.random() < 0.5 else len(data))))
    return at, min(int(2 ** (random.random() * 9)), len(data) - at)


BYTES: tuple[Callable[[bytes, Random], Damaged], ...] = (
    cut, flip_bit, flip_bit, flip_bit, overwrite, remove, repeat, append, replace_all,
)  # fmt: skip


def damage_bytes(data: bytes, random: Random) -> Damaged:
    """One of the above."""
    return BYTES[int(random.integers(len(BYTES)))](data, random)


# JSON

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 7, 65535, 2**31, 2**63, 10**400, 0.5, 1e-300, 1e30, 1e308, float("nan"), float("inf"),
    float("-inf"), "", " ", "\0", "a\nb", "\x1b[31mred", "..", "../../outside", "/etc/passwd", "C:\\x", "x" * 70000,
    "\ud800", [], {}, [1, 2], [None], {"a": 1}, [[[]]], "NaN",
)  # fmt: skip
"""Values that a field may be set to."""


def damage_json(table: Any, random: Random) -> Damaged:
    """One entry, at any depth, is missing, doubled under another name, or holds something else."""
    table = json.loads(json.dumps(table))
    parent, key = _entry(table, random)
    where, action = f"{key}", int(random.integers(8))
    if action == 0:
        del parent[key]
        return Damaged(_json(table), f"{where} missing")
    if action == 1 and isinstance(parent, dict):
        parent[f"{key}x"] = parent[key]
        return Damaged(_json(table), f"unknown entry {where}x")
    value = HOSTILE[int(random.integers(len(HOSTILE)))]
    parent[key] = value
    return Damaged(_json(table), f"{where} = {str(value)[:30]!r}")


def damage_json_text(table: Any, random: Random) -> Damaged:
    """The text itself: cut, damaged, nested too deeply, in another encoding."""
    text = _json(table)
    kind = int(random.integers(5))
    if kind == 0:
        return Damaged(b"[" * 100_000 + b"]" * 100_000, "nested 100,000 deep", contradicts=True)
    if kind == 1:
        return Damaged(text.decode().encode("utf-16"), "UTF-16")
    if kind == 2:
        return Damaged(b"\xef\xbb\xbf" + text, "byte order mark")
    return damage_bytes(text, random)


def _json(table: Any) -> bytes:
    return json.dumps(table, indent=1).encode("utf-8", "surrogatepass")


def _entry(table: Any, random: Random) -> tuple[Any, Any]:
    """A container and a key in it, deeper ones as likely as shallow ones."""
    found: list[tuple[Any, Any]] = []
    waiting = [table]
    while waiting:
        each = waiting.pop()
        for key in list(each) if isinstance(each, dict) else range(len(each)):
            found.append((each, key))
            if isinstance(each[key], (dict, list)) and each[key]:
                waiting.append(each[key])
    return found[int(random.integers(len(found)))]


# DICOM

NUMBERS = (b"0", b"-1", b"1", b"2", b"7", b"95", b"300", b"65535", b"1e30", b"-1e30", b"1e-30", b"nan", b"inf", b"abc", b"",
           b"\0\0", b"9" * 40, b"1,5", b"1\\2", b"1\\2\\3\\4", b"0\\0", b"-1\\-1", b"1e9\\1e9", b" ", b"\x1b[31m")  # fmt: skip
WORDS = (
    b"",
    b"MONOCHROME1",
    b"MONOCHROME3",
    b"RGB",
    b"\xff\xfe",
    b"A\\B\\C",
    b"LOG",
    b"AP",
    b"LL",
    b"\x1b[31mred",
    b"x" * 3000,
)
SHORTS = (0, 1, 2, 7, 8, 12, 63, 95, 255, 4096, 65535)
SIZES = ("Rows", "Columns", "BitsAllocated", "SamplesPerPixel", "NumberOfFrames", "BitsStored")
"""Tags that contradict the pixels when they change."""
DICOM_TAGS = (
    *SIZES, "HighBit", "PixelRepresentation", "PhotometricInterpretation", "PlanarConfiguration", "ImagerPixelSpacing",
    "PixelSpacing", "DistanceSourceToDetector", "DistanceSourceToPatient", "EstimatedRadiographicMagnificationFactor",
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "VOILUTFunction", "PixelIntensityRelationship",
    "PixelIntensityRelationshipSign", "PixelPaddingValue", "PatientOrientation", "ViewPosition", "Modality", "SOPClassUID",
    "CollimatorShape", "ShutterShape", "ShutterLeftVerticalEdge", "CollimatorLeftVerticalEdge", "PositionerPrimaryAngle",
    "PositionerSecondaryAngle", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness", "SpecificCharacterSet",
    "BurnedInAnnotation", "LossyImageCompression", "PatientID", "StudyInstanceUID", "FieldOfViewOrigin",
)  # fmt: skip


def damage_tags(data: bytes, random: Random) -> Damaged:
    """One tag of a DICOM file, as its bytes: another value, no value, no tag, or bytes that its type does not allow."""
    dataset = pydicom.dcmread(io.BytesIO(data), force=True)
    keyword = DICOM_TAGS[int(random.integers(len(DICOM_TAGS)))]
    tag = Tag(tag_for_keyword(keyword))
    if tag in dataset and random.random() < 0.15:
        del dataset[tag]
        return Damaged(_saved(dataset), f"{keyword} missing", keyword in SIZES)
    kind = dictionary_VR(tag)[:2]
    if kind in ("US", "SS"):
        value = struct.pack("<H", SHORTS[int(random.integers(len(SHORTS)))])
        value = value if random.random() < 0.85 else random.bytes(int(random.choice([1, 3, 4, 6])))
    else:
        choices = NUMBERS if kind in ("DS", "IS", "FL", "FD") else WORDS
        value = choices[int(random.integers(len(choices)))]
    dataset[tag] = RawDataElement(tag, kind, len(value), value, 0, False, True)
    return Damaged(_saved(dataset), f"{keyword} = {value[:24]!r}", keyword in SIZES)


def _saved(dataset: pydicom.Dataset) -> bytes:
    file = io.BytesIO()
    dataset.save_as(file)
    return file.getvalue()


# NIfTI, text headers, PNG

NIFTI = {
    "sizeof_hdr": (0, "i"), **{f"dim[{i}]": (40 + 2 * i, "h") for i in range(5)}, "datatype": (70, "h"), "bitpix": (72, "h"),
    **{f"pixdim[{i}]": (76 + 4 * i, "f") for i in range(4)}, "vox_offset": (108, "f"), "scl_slope": (112, "f"),
    "scl_inter": (116, "f"), "xyzt_units": (123, "b"), "qform_code": (252, "h"), "sform_code": (254, "h"),
    "quatern_b": (256, "f"), "qoffset_x": (268, "f"), "srow_x[0]": (280, "f"), "srow_y[1]": (300, "f"),
    "srow_z[2]": (320, "f"), "srow_x[3]": (292, "f"), "magic": (344, "i"),
}  # fmt: skip
"""Offset and type of the fields of a NIfTI-1 header."""
FLOATS = (0.0, -1.0, 1.0, 352.0, 1e-30, 1e30, float("nan"), float("inf"), 3e5, 0.0001)
INTEGERS = (0, -1, 1, 2, 3, 4, 7, 8, 16, 64, 100, 512, 32767)
CONTRADICTING = ("dim", "datatype", "bitpix", "vox_offset", "sizeof_hdr", "magic")


def damage_nifti(data: bytes, random: Random) -> Damaged:
    """One field of the header of an unpacked NIfTI file."""
    name = list(NIFTI)[int(random.integers(len(NIFTI)))]
    at, kind = NIFTI[name]
    choices = FLOATS if kind == "f" else [each for each in INTEGERS if kind != "b" or each < 128]
    value = choices[int(random.integers(len(choices)))]
    field = struct.pack(f"<{kind}", value)
    impossible = name in ("pixdim[1]", "pixdim[2]", "pixdim[3]") and not 0.05 <= abs(value) <= 25.0
    changed = data[:at] + field + data[at + len(field) :]
    return Damaged(changed, f"{name} = {value}", name.startswith(CONTRADICTING), impossible)


TEXT_VALUES = (
    "", "0", "-1", "1", "3", "95", "1 1 1 1", "64 64 64 64", "100000 100000", "99999999999", "1e30", "nan", "inf", "abc",
    "MET_DOUBLE", "MET_UCHAR", "double", "uchar", "gzip", "raw", "LIST", "../../etc/passwd", "/etc/passwd", "/dev/zero",
    "True", "False", "(1,0) (0,1)", "x" * 5000,
)  # fmt: skip
ABOUT_DATA = re.compile(
    rb"^(DimSize|ElementType|ElementNumberOfChannels|ElementDataFile|CompressedDataSize|CompressedData|NDims|HeaderSize|"
    rb"sizes|type|encoding|dimension|data file|byte ?skip|line ?skip|NRRD)"
)

SPACING = re.compile(rb"ElementSpacing|ElementSize|spacings|space directions")


def damage_text_header(data: bytes, random: Random) -> Damaged:
    """One line of the header of a MetaImage or NRRD file."""
    end = data.find(b"ElementDataFile")
    end = data.index(b"\n", end) if end >= 0 else data.index(b"\n\n")
    lines = data[:end].split(b"\n")
    at = int(random.integers(len(lines)))
    key, mark, _ = lines[at].partition(b"=" if b"=" in lines[at] else b":")
    value = TEXT_VALUES[int(random.integers(len(TEXT_VALUES)))].encode()
    lines[at] = key + mark + b" " + value if random.random() < 0.85 else b""
    how = f"header: {key[:20].decode('ascii', 'replace').strip()} = {value[:20].decode()!r}"
    impossible = SPACING.match(key) and value.split(b" ")[0] in (
        b"0",
        b"-1",
        b"1e30",
        b"nan",
        b"inf",
        b"abc",
        b"99999999999",
    )
    return Damaged(b"\n".join(lines) + data[end:], how, bool(ABOUT_DATA.match(key)), bool(impossible))


def damage_png(data: bytes, random: Random) -> Damaged:
    """A field of the header of a PNG, with the checksum that belongs to it: what the data then contradict."""
    name, at, kind = (("width", 16, ">I"), ("height", 20, ">I"), ("depth", 24, "B"), ("colour", 25, "B"))[
        int(random.integers(4))
    ]
    choices = (0, 1, 63, 65, 95, 60000, 2**31 - 1) if kind == ">I" else (0, 1, 2, 3, 4, 6, 8, 16)
    value = choices[int(random.integers(len(choices)))]
    head = data[12:16] + data[16:29][: at - 16] + struct.pack(kind, value) + data[at + struct.calcsize(kind) : 29]
    sealed = head + struct.pack(">I", zlib.crc32(head))
    return Damaged(data[:12] + sealed + data[33:], f"{name} = {value}", contradicts=True)


def damage_jpeg(data: bytes, random: Random) -> Damaged:
    """The size in the frame header of a baseline JPEG."""
    at = data.index(b"\xff\xc0") + 5 + 2 * int(random.integers(2))
    value = (0, 1, 8, 63, 72, 128, 4096, 65535)[int(random.integers(8))]
    return Damaged(data[:at] + struct.pack(">H", value) + data[at + 2 :], f"JPEG size {value}", contradicts=True)
