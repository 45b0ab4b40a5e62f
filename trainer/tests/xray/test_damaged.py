"""Films that are cut off, changed or lie about themselves: one line that says so, and nothing allocated for them."""

import contextlib
import io
import re
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from one_line import refusal
from PIL import Image
from processes import peak_memory_bytes
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless
from torso import PICTURE_FILES, SYNTAXES, dicom, eight_bits, later, picture, resaved, tiff, torso

from clsdm.errors import InputError
from clsdm.xray.read import GeometryOverrides, inspect_xray, read_xray

SPACING = GeometryOverrides(pixel_mm=2.0)


@later
def cut(folder: Path, write: Callable[[Path], Path], keep: float) -> Path:
    """A file of which only the first part is left."""
    path = write(folder)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


@later
def with_bytes(folder: Path, write: Callable[[Path], Path], at: float, values: bytes) -> Path:
    """A file with other bytes at a part of its length."""
    path = write(folder)
    data = bytearray(path.read_bytes())
    start = int(len(data) * at)
    data[start : start + len(values)] = values
    path.write_bytes(bytes(data))
    return path


@later
def retagged(folder: Path, write: Callable[[Path], Path], **tags: object) -> Path:
    """A DICOM file whose header says something else of the same pixels."""
    path = write(folder)
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


@later
def without_its_end(folder: Path, syntax: str) -> Path:
    """A compressed image in a whole DICOM file, without the image's last quarter."""
    path = SYNTAXES[syntax]()(folder)
    dataset = pydicom.dcmread(path)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame[: len(frame) * 3 // 4]])
    dataset.save_as(path)
    return path


def jpeg_in_dicom(folder: Path, left_out: int = 0) -> Path:
    """A baseline JPEG in DICOM, without so many of its last bytes before its end."""
    path, stream = dicom(eight_bits(), BitsAllocated=8, BitsStored=8, HighBit=7)(folder), io.BytesIO()
    Image.fromarray(eight_bits()).save(stream, "JPEG", quality=95)
    dataset, data = pydicom.dcmread(path), stream.getvalue()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.PixelData = encapsulate([data[: -2 - left_out] + data[-2:]])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path, enforce_file_format=True)
    return path


def without_codes(folder: Path) -> Path:
    return jpeg_in_dicom(folder, 40)


def without_bits(folder: Path) -> Path:
    """A TIFF whose BitsPerSample says that it is longer than the file, so that Pillow passes over it and takes 1."""
    path = PICTURE_FILES["TIFF 8 bits"](folder)
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.index(struct.pack("<HHI", 258, 3, 1)) + 4, 10**6)
    path.write_bytes(data)
    return path


def _huge(folder: Path) -> Path:
    dataset = pydicom.dcmread(dicom()(folder))
    dataset.compress(RLELossless)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(folder / "x.dcm")
    return folder / "x.dcm"


def _huge_png(folder: Path) -> Path:
    path = PICTURE_FILES["PNG 8 bits"](folder)
    head = b"IHDR" + struct.pack(">2I", 60_000, 60_000) + path.read_bytes()[24:29]
    path.write_bytes(path.read_bytes()[:12] + head + struct.pack(">I", zlib.crc32(head)) + path.read_bytes()[33:])
    return path


def _bomb(folder: Path) -> Path:
    path = SYNTAXES["deflated"]()(folder)
    data = path.read_bytes()
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    path.write_bytes(data[:start] + b"".join(packer.compress(bytes(2**24)) for _ in range(100)) + packer.flush())
    return path


def _rows_of_one_byte(folder: Path) -> Path:
    path = dicom()(folder)
    data = path.read_bytes()
    at = data.index(b"\x28\x00\x10\x00US\x02\x00")
    path.write_bytes(data[: at + 6] + b"\x01\x00" + data[at + 8 : at + 9] + data[at + 10 :])
    return path


CASES = {
    "a tag of one byte": (_rows_of_one_byte, "truncated or damaged DICOM"),
    "JPEG cut in half": (cut(PICTURE_FILES["JPEG"], 0.5), "truncated or damaged JPEG"),
    "JPEG without its end": (cut(PICTURE_FILES["JPEG"], 0.999), "truncated or damaged JPEG"),
    "PNG of 3.6 gigapixels": (_huge_png, "more pixels than any panel has"),
    "PNG cut": (cut(PICTURE_FILES["PNG 16 bits"], 0.7), "truncated or damaged PNG"),
    "PNG without its end": (cut(PICTURE_FILES["PNG 8 bits"], 0.9999), "truncated PNG"),
    "PNG with a bit changed": (
        with_bytes(PICTURE_FILES["PNG 16 bits"], 0.6, b"\xa5"),
        "the checksum of its part 'IDAT'",
    ),
    "TIFF cut": (cut(PICTURE_FILES["TIFF 16 bits"], 0.7), "truncated"),
    "TIFF deflated, changed": (with_bytes(PICTURE_FILES["TIFF deflated"], 0.6, b"\xa5\x5a"), "damaged TIFF"),
    "TIFF with a tag that is none": (without_bits, "its strips hold 40000 bytes, expected 5000"),
    "TIFF LZW, changed": (with_bytes(PICTURE_FILES["TIFF LZW"], 0.5, bytes(range(20))), "damaged TIFF"),
    "BMP cut": (cut(PICTURE_FILES["BMP"], 0.7), "truncated or damaged BMP"),
    "MetaImage cut": (cut(PICTURE_FILES["MetaImage"], 0.7), "truncated"),
    "NIfTI changed": (with_bytes(PICTURE_FILES["NIfTI"], 0.7, b"\xa5\x5a"), "damaged"),
    "DICOM cut": (cut(dicom(), 0.7), "truncated"),
    "DICOM deflated, cut": (cut(SYNTAXES["deflated"](), 0.7), "deflated data do not end"),
    "DICOM deflated bomb": (_bomb, "unpacked data"),
    "JPEG lossless in DICOM, cut": (without_its_end("JPEG lossless 14 SV1"), "the compressed image has no end"),
    "JPEG 2000 in DICOM, cut": (without_its_end("JPEG 2000"), "the compressed image has no end"),
    "RLE in DICOM, cut": (without_its_end("RLE"), "damaged or cannot be decoded"),
    "a column too few": (retagged(dicom(), Columns=199), "longer than its header says"),
    "a row too many": (retagged(dicom(), Rows=201), "PixelData is truncated"),
    "fewer bits than values": (retagged(dicom(), BitsStored=7), "expected 0 to 127, by BitsStored 7"),
    "fewer bits than a JPEG's values": (retagged(jpeg_in_dicom, BitsStored=7), "expected 0 to 127, by BitsStored 7"),
    "a JPEG in DICOM without some codes": (retagged(without_codes, BitsStored=8), "its data end before its pixels do"),
    "more bits than there are": (retagged(dicom(), BitsStored=17), "BitsStored is 17; expected 1 to 16"),
    "another size than the stream": (
        retagged(SYNTAXES["JPEG-LS lossless"](), Rows=100, Columns=400),
        "has 200x200 pixels, its header says 100x400",
    ),
    "a size of gigabytes": (_huge, "65535 x 65535 pixels; expected an image of at most"),
    "a slope beyond all numbers": (dicom(RescaleSlope="9e307"), "the image holds infinite pixels"),
    "no photometric interpretation": (dicom(PhotometricInterpretation=None), "PhotometricInterpretation is missing"),
    "a photograph's colours": (
        picture("x.jpg", lambda: np.random.default_rng(0).integers(0, 255, (200, 200, 3), "u1")),
        "a colour image",
    ),
    "inks": (picture("x.tif", lambda: np.zeros((200, 200), "u1"), "CMYK"), "a colour image"),
    "pages": (tiff("x.tif", lambda: np.stack((torso(), torso())), photometric="minisblack"), "2 images; choose one"),
    "a GIF in disguise": (picture("x.png", lambda: np.zeros((200, 200), "u1"), format="GIF"), "a GIF file named .png"),
    "a source in cm": (dicom(DistanceSourceToDetector=180.0), "DistanceSourceToDetector is 180 mm; expected .* in mm"),
    "a source in a galaxy": (dicom(DistanceSourceToDetector=1e9), "DistanceSourceToDetector is 1e"),
    "a source behind the panel": (dicom(DistanceSourceToDetector=-1800.0), "DistanceSourceToDetector is -1800 mm"),
    "a source in the patient's back": (
        dicom(DistanceSourceToPatient=-570.0),
        "DistanceSourceToPatient is -570 mm; .* 200",
    ),
    "a patient of nine times his size": (
        dicom(DistanceSourceToPatient=None, EstimatedRadiographicMagnificationFactor=9.0),
        "EstimatedRadiographicMagnificationFactor is 9; expected 1 to 4",
    ),
    "a patient who shrinks": (
        dicom(DistanceSourceToPatient=None, EstimatedRadiographicMagnificationFactor=0.5),
        "EstimatedRadiographicMagnificationFactor is 0.5; expected 1 to 4",
    ),
    "a spacing in m": (dicom(ImagerPixelSpacing=[0.0002, 0.0002]), "ImagerPixelSpacing is 0.0002 mm"),
    "an isocentre far away": (dicom(IsocenterPosition=[1e30, 0, 0]), "isocentre_mm is 1e"),
    "a panel of a stamp": (
        dicom(ImagerPixelSpacing=[0.02, 0.02]),
        r"the image's edge \(200 pixels of 0.02 mm\) is 4 mm",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_film_that_is_not_whole_or_cannot_be_is_refused_in_one_line(tmp_path, case, recwarn):
    make, says = CASES[case]
    path = make(tmp_path)
    overrides, before = None if path.suffix == ".dcm" else SPACING, peak_memory_bytes()
    said = refusal(read_xray, path, 0.0, overrides)
    assert re.search(says, said)
    assert said.startswith(str(path))
    assert said.count(str(path)) == 1
    assert [str(each.message) for each in recwarn.list] == []
    assert peak_memory_bytes() - before < 1.5e9


def test_a_page_of_a_tiff_is_chosen(tmp_path):
    path = tiff("x.tif", lambda: np.stack((torso()[::-1], torso())), photometric="minisblack")(tmp_path)
    options = GeometryOverrides(pixel_mm=2.0, frame=2)
    np.testing.assert_array_equal(read_xray(path, 0.0, options).image, torso())
    assert inspect_xray(path, 0.0, options).rows == 200


@pytest.mark.parametrize("field", ["source_detector_mm", "source_axis_mm", "pixel_mm"])
@pytest.mark.parametrize("value", [1e9, 1e-9, -1.0])
def test_an_implausible_option_is_refused_by_its_name(tmp_path, field, value):
    name = {"source_detector_mm": "source-detector distance", "source_axis_mm": "source-axis distance"}
    with pytest.raises(InputError, match=f"{name.get(field, 'spacing')} is .*; expected .* mm; in mm"):
        read_xray(dicom()(tmp_path), 0.0, GeometryOverrides(**{field: value}))


def test_a_nifti_film_whose_spacing_contradicts_itself_has_none(tmp_path):
    image = nibabel.Nifti1Image(torso().T[..., None], np.diag([-2.0, -2.0, 1.0, 1.0]))
    image.header["pixdim"][1:3] = (0.0, 2.0)
    (tmp_path / "x.nii").write_bytes(image.to_bytes())
    data = bytearray((tmp_path / "x.nii").read_bytes())
    data[80:84] = struct.pack("<f", 0.0)  # pixdim of the first axis
    (tmp_path / "x.nii").write_bytes(bytes(data))
    with pytest.raises(InputError, match="the pixel spacing is unknown"):
        read_xray(tmp_path / "x.nii", 0.0)
    assert read_xray(tmp_path / "x.nii", 0.0, SPACING).view.pixel_mm == (2.0, 2.0)


def mutated(data: bytes, random: np.random.Generator) -> bytes:
    """Cut off, or with bytes changed, left out or put in."""
    changed, at = bytearray(data), int(random.integers(len(data) if random.random() < 0.5 else min(len(data), 1500)))
    kind = random.integers(4)
    if kind == 0:
        return bytes(changed[: at + 1])
    if kind == 1:
        changed[at] ^= 1 << random.integers(8)
    elif kind == 2:
        changed[at : at + int(random.integers(1, 40))] = b""
    else:
        changed[at:at] = random.bytes(int(random.integers(1, 40)))
    return bytes(changed)


@pytest.mark.parametrize("kind", [*SYNTAXES, *(name for name in PICTURE_FILES if "orientation" not in name)])
def test_whatever_is_changed_in_a_film_it_is_read_or_refused_in_one_line(tmp_path, kind):
    """Of 2,500 such inputs none ended in a traceback, took over 3 s, or over 200 MB."""
    path = (SYNTAXES[kind]() if kind in SYNTAXES else PICTURE_FILES[kind])(tmp_path)
    whole, random, lines = path.read_bytes(), np.random.default_rng(0), []
    for _ in range(8):
        path.write_bytes(mutated(whole, random))
        try:
            read_xray(path, 0.0, SPACING)
        except InputError as error:
            lines.append(str(error))
    assert lines
    assert not any("\n" in line for line in lines)


@pytest.mark.parametrize(("progressive", "more"), [(False, 40), (False, 8), (False, -8), (True, 40)])
def test_a_jpeg_whose_header_promises_other_rows_than_it_holds_is_refused(tmp_path, progressive, more):
    path = tmp_path / "x.jpg"
    Image.fromarray(eight_bits()).save(path, quality=90, progressive=progressive)
    assert read_xray(path, 0.0, SPACING).image.shape == torso().shape
    data = bytearray(path.read_bytes())
    height = data.find(b"\xff\xc2" if progressive else b"\xff\xc0") + 5
    data[height : height + 2] = (len(torso()) + more).to_bytes(2, "big")
    path.write_bytes(data)
    with pytest.raises(
        InputError, match=r"truncated or damaged JPEG: .*(before|behind) its (last rows|pixels do|last pixel)"
    ):
        read_xray(path, 0.0, SPACING)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("more", [1, -1])
def test_a_png_whose_header_promises_other_rows_than_it_holds_is_refused(tmp_path, interlaced, more):
    path = tmp_path / "x.png"
    path.write_bytes(png(eight_bits(), len(torso()), interlaced))
    assert read_xray(path, 0.0, SPACING).image.shape == torso().shape
    path.write_bytes(png(eight_bits(), len(torso()) + more, interlaced))
    with pytest.raises(InputError, match="truncated or damaged PNG"):
        read_xray(path, 0.0, SPACING)


def png(image: np.ndarray, rows: int, interlaced: bool) -> bytes:
    """A grey PNG of eight bits that says it has so many rows."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    steps = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1))
    passes = [image[a::b, c::d] for a, b, c, d in steps] if interlaced else [image]
    lines = b"".join(b"\0" + row.tobytes() for part in passes for row in part)
    header = struct.pack(">IIBBBBB", image.shape[1], rows, 8, 0, 0, 0, int(interlaced))
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _behind_its_end(folder: Path) -> Path:
    """An implicit file with something behind its end, which says that 3.5 GB follow."""
    path = resaved(ImplicitVRLittleEndian)(folder)
    path.write_bytes(path.read_bytes() + struct.pack("<HHI", 0x7FE1, 0x0010, 3_500_000_000) + b"noise")
    return path


def _in_its_meta_information(folder: Path) -> Path:
    """A file whose version of the meta information, two bytes at 156, is said to have 3.5 GB."""
    path = SYNTAXES["deflated"]()(folder)
    data = path.read_bytes()
    path.write_bytes(data[:152] + struct.pack("<I", 3_500_000_000) + data[156:])
    return path


@pytest.mark.parametrize("damaged", [_behind_its_end, _in_its_meta_information])
def test_a_dicom_element_that_claims_gigabytes_is_never_given_room(damaged, tmp_path):
    path = damaged(tmp_path)
    tracemalloc.start()
    try:
        with contextlib.suppress(InputError):
            read_xray(path, 0.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6
