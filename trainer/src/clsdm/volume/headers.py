"""Where the voxels of a NIfTI, NRRD or MetaImage file are, from its header.

ITK's own parsers take some damaged headers as they are, or end the process over them; such are refused here.
"""

import math
import re
from dataclasses import dataclass
from pathlib import Path

from clsdm import limits
from clsdm.errors import InputError
from clsdm.volume.nifti import NIFTI_SUFFIXES, NiftiHeader, read_header

META_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4", "ULONG": "u4",
    "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip
NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"),
    "float": "f4",
    "double": "f8",
}
META_NUMBERS = (
    "DimSize", "Offset", "Origin", "Position", "TransformMatrix", "Orientation", "Rotation", "CenterOfRotation",
    "ElementSpacing", "ElementSize",
)  # fmt: skip
NRRD_NUMBERS = ("sizes", "spacings", "space origin", "space directions", "measurement frame")
MOST_AXES = 5
LINE_CHARACTERS = 4000
"""Of a text header; ITK's own parsers have buffers of a fixed size."""
NRRD_PACKED = {"raw": "", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"}


@dataclass(frozen=True)
class Container:
    """Where the voxels of a file are.

    Attributes:
        data: the file that holds them; often the header's own.
        start: where they, or the compressed stream with them, begin in it; None: they are its last bytes.
        shape: voxels along each axis, x first, colours included.
        bits: of one voxel.
        dtype: numpy's name of the voxels' type, byte order included; None for colours and complex numbers of NIfTI.
        packed: "", "gzip", "zlib" or "bzip2".
        skip: bytes between the start of the stream and the first voxel.
    """

    data: Path
    start: int | None
    shape: tuple[int, ...]
    bits: int
    dtype: str | None
    packed: str = ""
    skip: int = 0

    @property
    def bytes(self) -> int:
        """Of all voxels, unpacked."""
        return math.prod(self.shape) * self.bits // 8


def describe(path: Path) -> Container | None:
    """Where the voxels of a file are, from its header; None where it is of another format."""
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return _nifti(path, read_header(path))
    if name.endswith((".mha", ".mhd")):
        return _meta_image(path)
    return _nrrd(path) if name.endswith((".nrrd", ".nhdr")) else None


def check_spacing_stated(path: Path) -> None:
    """ITK takes 1 mm where a MetaImage or NRRD file states no voxel spacing.

    Raises:
        InputError: it states none.
    """
    text, _ = _text_header(path, re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:].*\n?|\r?\n\r?\n", re.M), needed=False)
    if not re.search(r"^[ \t]*(ElementSpacing|ElementSize|spacings|space directions)[ \t]*[=:][ \t]*\S", text, re.M):
        raise InputError(f"{path}: states no voxel spacing; expected it in mm along each axis")


def _nifti(path: Path, header: NiftiHeader) -> Container:
    packed = path.name.lower().endswith(".gz")
    start, skip = (0, header.start) if packed else (header.start, 0)
    return Container(path, start, header.shape, header.bits, header.dtype, "gzip" if packed else "", skip)


def _meta_image(path: Path) -> Container:
    text, end = _text_header(path, re.compile(rb"^[ \t]*ElementDataFile[ \t]*[=:].*\n?", re.MULTILINE))
    fields = _meta_fields(text, path)
    _check_numbers({key: fields[key] for key in META_NUMBERS if key in fields}, path)
    _check_dimension(fields.get("NDims", ""), fields["DimSize"], path)
    dtype = META_TYPES[fields["ElementType"].removeprefix("MET_").removesuffix("_ARRAY")]
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    shape = (*([channels] if channels > 1 else []), *(int(count) for count in fields["DimSize"].split()))
    packed = fields.get("CompressedData", "False").lower().startswith("t")
    local = fields["ElementDataFile"].upper() == "LOCAL"
    data = path if local else _beside(path, fields["ElementDataFile"])
    skip = int(fields.get("HeaderSize", "0"))
    start = end if local else None if skip < 0 else skip
    if packed:
        _check_packed(fields.get("CompressedDataSize", ""), data.stat().st_size - (start or 0), path)
    big = "true" in (fields.get(f"{key}ByteOrderMSB", "").lower() for key in ("BinaryData", "Element"))
    return Container(data, start, shape, int(dtype[1:]) * 8, (">" if big else "<") + dtype, "zlib" if packed else "")


def _meta_fields(text: str, path: Path) -> dict[str, str]:
    """The fields of a MetaImage header as ITK takes them: what stands on a line without a value belongs to the next name.

    Raises:
        InputError: a field that ITK therefore does not know.
    """
    fields = {}
    for name, value in re.findall(r"([^=:]*)[=:]([^\n]*)", text):
        *lost, name = name.strip().split("\n")
        if lost and name[:1].isalpha():
            raise InputError(
                f"{path}: a header line {lost[-1].strip()[:60]!r} before {name.strip()}; expected 'Name = value'"
            )
        fields[name.strip()] = value.strip()
    return fields


def _check_packed(said: str, found: int, path: Path) -> None:
    """ITK reads as many compressed bytes as the header says, and makes up the rest."""
    if not said.isdigit():
        raise InputError(f"{path}: CompressedDataSize is missing; expected {found}")
    if int(said) != found:
        kind = "truncated" if found < int(said) else "more voxels than its header says"
        raise InputError(f"{path}: {kind}: found {found} compressed bytes, CompressedDataSize is {said}")


def _nrrd(path: Path) -> Container:
    text, end = _text_header(path, re.compile(rb"\r?\n\r?\n"), needed=False)
    if not text.startswith("NRRD"):
        raise InputError(f"{path}: not an NRRD file; expected its first line to be NRRD000N")
    fields = {
        key.lower().strip(): value.strip() for key, value in re.findall(r"^([^#:\n]+):[ ]?([^=\n].*?)\r?$", text, re.M)
    }
    _check_numbers({key: fields[key] for key in NRRD_NUMBERS if key in fields}, path)
    _check_dimension(fields.get("dimension", ""), fields["sizes"], path)
    dtype, encoding = NRRD_TYPES[fields["type"]], fields["encoding"].lower()
    if encoding not in NRRD_PACKED:
        raise InputError(f"{path}: NRRD encoding {encoding!r}; expected one of {', '.join(NRRD_PACKED)}")
    named = fields.get("data file", fields.get("datafile"))
    skip = int(fields.get("byte skip", fields.get("byteskip", "0")))
    if int(fields.get("line skip", fields.get("lineskip", "0"))):
        raise InputError(f"{path}: NRRD with 'line skip'; expected voxels that begin at a byte")
    return Container(
        path if named is None else _beside(path, named),
        None if skip < 0 else (end if named is None else 0) + (0 if NRRD_PACKED[encoding] else skip),
        tuple(int(count) for count in fields["sizes"].split()),
        int(dtype[1:]) * 8,
        (">" if fields.get("endian", "little").lower() == "big" else "<") + dtype,
        NRRD_PACKED[encoding],
        skip=skip if NRRD_PACKED[encoding] and skip > 0 else 0,
    )


def _check_numbers(fields: dict[str, str], path: Path) -> None:
    """Finite numbers only: ITK takes NaN for a spacing, and its parsers end the process over some other text.

    Raises:
        InputError: names the field.
    """
    for key, value in fields.items():
        for token in re.split(r"[\s,()]+", value.strip(" ()")):
            try:
                finite = token == "none" or math.isfinite(float(token))
            except ValueError:
                finite = False
            if not finite:
                raise InputError(f"{path}: {key} is {value[:60]!r}; expected finite numbers")


def _check_dimension(said: str, sizes: str, path: Path) -> None:
    count = len(sizes.split())
    if said.strip() != str(count) or not 1 <= count <= MOST_AXES:
        raise InputError(f"{path}: {count} sizes in {said[:60]!r} dimensions; expected 1 to {MOST_AXES}, one for each")


def _text_header(path: Path, end: re.Pattern[bytes], *, needed: bool = True) -> tuple[str, int]:
    """The text up to and with ``end``, and where the bytes after it begin."""
    with path.open("rb") as file:
        head = file.read(limits.HEADER_BYTES)
    found = end.search(head)
    if found is None and (needed or len(head) == limits.HEADER_BYTES):
        raise InputError(f"{path}: not a volume file, or its header has no end")
    at = len(head) if found is None else found.end()
    text = head[:at].decode("latin-1").replace("\r\n", "\n")
    longest = max(map(len, text.splitlines()), default=0)
    if longest > LINE_CHARACTERS:
        raise InputError(f"{path}: a header line of {longest} characters; expected at most {LINE_CHARACTERS}")
    return text, at


def _beside(path: Path, name: str) -> Path:
    """The file with the voxels, which lies in the folder of its header.

    Raises:
        InputError: several files, another folder, or no regular file.
    """
    data = path.parent / name
    if name.upper().startswith("LIST") or "%" in name:
        raise InputError(f"{path}: its voxels are spread over several files ({name!r}); expected one")
    if data.resolve().parent != path.resolve().parent or not data.is_file():
        raise InputError(f"{path}: its voxels are in {name!r}; expected a file in the folder of the header")
    return data
