"""One film of a torso, and the same film in every encoding a radiograph comes in; written with other code than reads it."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - the usual name
import tifffile
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, RLELossless
from xray_files import write_dicom

SIZE, PIXEL_MM, TOP = 200, 2.0, 4000
GEOMETRY = {
    "ImagerPixelSpacing": [PIXEL_MM, PIXEL_MM],
    "DistanceSourceToDetector": 1800.0,
    "DistanceSourceToPatient": 1600.0,
    "PatientOrientation": None,
    "BitsStored": 12,
    "HighBit": 11,
    "Modality": "CR",
}


def torso() -> np.ndarray:
    """(200, 200) uint16 in 12 bits, bone bright, air 0: neck, trunk, two lungs, spine, heart at image right, a nodule."""
    down, right = np.mgrid[:SIZE, :SIZE] * PIXEL_MM - SIZE * PIXEL_MM / 2 + 1.0

    def chord(x_mm: float, y_mm: float, wide: float, tall: float, power: float = 2.0) -> np.ndarray:
        """Path through an ellipsoid, 0 to 1."""
        return np.sqrt(
            np.clip(1.0 - np.abs((right - x_mm) / wide) ** power - np.abs((down - y_mm) / tall) ** power, 0, 1)
        )

    trunk = chord(0, 60, 165, 190, 4.0) + 0.45 * chord(0, -160, 55, 120, 4.0)
    lungs = 0.62 * (chord(-80, 10, 58, 100) + chord(82, 5, 55, 92))
    dense = 0.35 * chord(0, 20, 22, 400) + 0.4 * chord(30, 60, 50, 55) + 0.25 * chord(90, -40, 14, 14)
    line = np.clip(2.4 * trunk - 1.3 * lungs * (trunk > 0) + dense * (trunk > 0), 0.0, None)
    return np.round(line / line.max() * TOP).astype(np.uint16)


def later(write: Callable[..., Path]) -> Callable[..., Callable[[Path], Path]]:
    """All arguments but the folder first: what is written, and then where."""
    return lambda *what, **how: lambda folder: write(folder, *what, **how)


@later
def dicom(folder: Path, pixels: np.ndarray | None = None, **tags: object) -> Path:
    """A CR file of the torso, with ``tags`` on top."""
    return write_dicom(folder / "x.dcm", torso() if pixels is None else pixels, **(GEOMETRY | tags))


def eight_bits() -> np.ndarray:
    """The torso in eight bits."""
    return np.round(torso() / TOP * 255).astype(np.uint8)


ENCODERS: dict[str, tuple[str, int, Callable[[np.ndarray], bytes]]] = {
    "JPEG baseline": ("50", 8, lambda a: imagecodecs.jpeg_encode(a, level=95)),
    "JPEG extended": ("51", 12, lambda a: imagecodecs.jpeg_encode(a, level=95, bitspersample=12)),
    "JPEG lossless 14": ("57", 12, lambda a: imagecodecs.jpeg_encode(a, lossless=True, bitspersample=12, predictor=4)),
    "JPEG lossless 14 SV1": ("70", 12, lambda a: imagecodecs.ljpeg_encode(a, bitspersample=12)),
    "JPEG-LS lossless": ("80", 12, imagecodecs.jpegls_encode),
    "JPEG-LS near lossless": ("81", 12, lambda a: imagecodecs.jpegls_encode(a, level=2)),
    "JPEG 2000 lossless": (
        "90", 12, lambda a: imagecodecs.jpeg2k_encode(a, codecformat="j2k", reversible=True, bitspersample=12),
    ),
    "JPEG 2000": ("91", 12, lambda a: imagecodecs.jpeg2k_encode(a, level=60, codecformat="j2k", bitspersample=12)),
    "HTJ2K lossless": ("201", 12, imagecodecs.htj2k_encode),
    "HTJ2K lossless RPCL": ("202", 12, lambda a: imagecodecs.htj2k_encode(a, tlm=True)),
    "HTJ2K": ("203", 12, lambda a: imagecodecs.htj2k_encode(a, level=0.001, reversible=False)),
}  # fmt: skip
"""Last number of the transfer syntax, bits, and encoder."""


@later
def encoded(folder: Path, name: str, **tags: object) -> Path:
    """The DICOM file with its image compressed."""
    number, bits, encode = ENCODERS[name]
    pixels = torso() if bits == 12 else eight_bits()
    path = dicom(pixels, **({"BitsStored": bits, "HighBit": bits - 1} | tags))(folder)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = f"1.2.840.10008.1.2.4.{number}"
    dataset.PixelData = encapsulate([bytes(encode(pixels))])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    return path


@later
def resaved(folder: Path, syntax: str, **tags: object) -> Path:
    """The DICOM file in a transfer syntax that pydicom writes."""
    dataset = pydicom.dcmread(dicom(**tags)(folder))
    path = folder / "resaved.dcm"
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = torso().astype(">u2").tobytes()
    if syntax == RLELossless:
        dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = syntax
    order = {"implicit_vr": syntax == ImplicitVRLittleEndian, "little_endian": syntax != ExplicitVRBigEndian}
    pydicom.dcmwrite(path, dataset, **order, force_encoding=True)
    return path


@later
def picture(
    folder: Path, name: str, pixels: Callable[[], np.ndarray], mode: str | None = None, **options: object
) -> Path:
    """A file by Pillow."""
    image = Image.fromarray(pixels())
    (image.convert(mode) if mode else image).save(folder / name, **options)
    return folder / name


def deep() -> np.ndarray:
    """The torso in 16 bits, from edge to edge."""
    return torso() * np.uint16(16)


@later
def tiff(folder: Path, name: str, pixels: Callable[[], np.ndarray], **options: object) -> Path:
    """A file by tifffile."""
    tifffile.imwrite(folder / name, pixels(), **options)
    return folder / name


@later
def itk(folder: Path, name: str, pixels: Callable[[], np.ndarray]) -> Path:
    """A file by SimpleITK, with the spacing."""
    image = sitk.GetImageFromArray(pixels())
    image.SetSpacing((PIXEL_MM, PIXEL_MM))
    sitk.WriteImage(image, str(folder / name))
    return folder / name


def as_dcm2niix_writes(folder: Path) -> Path:
    """Without codes, the first row stored being the lowest."""
    image = nibabel.Nifti1Image(torso()[::-1].T[..., None], np.diag([-PIXEL_MM, PIXEL_MM, 1.0, 1.0]))
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nibabel.save(image, folder / "x.nii.gz")
    return folder / "x.nii.gz"


@later
def with_exif_orientation(folder: Path, orientation: int, name: str = "x.png") -> Path:
    """The torso stored turned, with the EXIF orientation that turns it back."""
    turn = {
        1: lambda a: a,
        2: np.fliplr,
        3: lambda a: np.rot90(a, 2),
        4: np.flipud,
        5: np.transpose,
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(turn(eight_bits())))
    exif = image.getexif()
    exif[274] = orientation
    image.save(folder / name, exif=exif)
    return folder / name


@later
def without_preamble(folder: Path, meta: bool) -> Path:
    """DICOM as it travels, without what makes it a file."""
    dataset = pydicom.dcmread(dicom()(folder))
    stream = io.BytesIO()
    if meta:
        stream.write((folder / "x.dcm").read_bytes()[132:])
    else:
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(stream, implicit_vr=True, little_endian=True)
    (folder / "bare.dcm").write_bytes(stream.getvalue())
    return folder / "bare.dcm"


def lut(count: int, first: int, data: list[int], bits: int = 16) -> Dataset:
    """An item of a modality or VOI LUT sequence."""
    table = Dataset()
    table.LUTDescriptor = [count, first, bits]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = data
    table["LUTData"].VR = "US"
    return table


FALLING = lut(4096, 0, [max(0, TOP - value) for value in range(4096)], 12)
UPSIDE_DOWN = TOP - torso()

SYNTAXES: dict[str, Callable[..., Callable[[Path], Path]]] = {
    "explicit little endian": dicom,
    "implicit little endian": partial(resaved, ImplicitVRLittleEndian),
    "explicit big endian": partial(resaved, ExplicitVRBigEndian),
    "deflated": partial(resaved, DeflatedExplicitVRLittleEndian),
    "RLE": partial(resaved, RLELossless),
    **{name: partial(encoded, name) for name in ENCODERS},
}
"""Writers of the DICOM file in each transfer syntax, with tags."""

PICTURE_FILES: dict[str, Callable[[Path], Path]] = {
    "PNG 8 bits": picture("x.png", eight_bits),
    "PNG 16 bits": picture("x.png", deep),
    "PNG grey and alpha": picture("x.png", eight_bits, "LA"),
    "PNG palette": picture("x.png", eight_bits, "P"),
    "PNG colours": picture("x.png", eight_bits, "RGB"),
    "PNG colours and alpha": picture("x.png", eight_bits, "RGBA"),
    "PNG colours of 16 bits": lambda folder: _itk_colours(folder),
    "JPEG": picture("x.jpg", eight_bits, quality=95),
    "JPEG colours": picture("x.jpeg", eight_bits, "RGB", quality=95),
    "BMP": picture("x.bmp", eight_bits),
    "TIFF 8 bits": tiff("x.tif", eight_bits),
    "TIFF 16 bits": tiff("x.tif", deep),
    "TIFF 16 bits big endian": tiff("x.tif", deep, byteorder=">"),
    "TIFF decimals": tiff("x.tif", lambda: deep().astype(np.float32) / 7.0),
    "TIFF tiled": tiff("x.tif", deep, tile=(64, 64)),
    "TIFF deflated": tiff("x.tif", deep, compression="zlib"),
    "TIFF LZW": picture("x.tif", eight_bits, compression="tiff_lzw"),
    "TIFF packed": picture("x.tif", eight_bits, compression="packbits"),
    "TIFF white is zero": tiff("x.tif", lambda: np.uint16(65535) - deep(), photometric="miniswhite"),
    "TIFF white is zero, 8 bits": tiff("x.tif", lambda: np.uint8(255) - eight_bits(), photometric="miniswhite"),
    "NIfTI": itk("x.nii.gz", torso),
    "NIfTI by dcm2niix": as_dcm2niix_writes,
    "NRRD": itk("x.nrrd", torso),
    "MetaImage": itk("x.mha", lambda: torso().astype(np.float32) / 37.0),
    **{
        f"{kind} orientation {number}": with_exif_orientation(number, f"x.{kind}")
        for kind in ("png", "jpg", "tif")
        for number in range(1, 9)
    },
}
"""Writers of the film in each picture format."""


def _itk_colours(folder: Path) -> Path:
    image = sitk.GetImageFromArray(np.repeat(deep()[..., None], 3, -1), isVector=True)
    sitk.WriteImage(image, str(folder / "x.png"))
    return folder / "x.png"
