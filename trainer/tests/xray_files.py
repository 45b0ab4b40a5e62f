"""Small radiograph files for the tests of reading: written with other code than what reads them."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name
from pydicom.uid import ComputedRadiographyImageStorage, generate_uid

from clsdm.files.dicom import new_dicom, save_dicom

ROWS, COLS = 70, 90


def film_pixels(dtype: type = np.uint16) -> np.ndarray:
    """(70, 90) with a bright block at the top right and a dimmer one at the bottom left: no turn leaves it as it is."""
    pixels = np.full((ROWS, COLS), 20)
    pixels[5:20, 60:80] = 200
    pixels[50:60, 10:20] = 120
    row, col = np.mgrid[:ROWS, :COLS]
    return (pixels + (row // 2 + col // 3) % 16).astype(dtype)


def write_dicom(path: Path, pixels: np.ndarray | None = None, **tags: object) -> Path:
    """A CR file as a modality would write it, with ``tags`` on top; a tag of None is left out."""
    pixels = film_pixels() if pixels is None else pixels
    dataset = new_dicom(ComputedRadiographyImageStorage, generate_uid())
    stated = {
        "Modality": "DX",
        "PatientID": "SECRET-4711",
        "PatientName": "Doe^Jane",
        "ViewPosition": "PA",
        "PatientOrientation": ["L", "F"],
        "ImagerPixelSpacing": [2.0, 2.0],
        "DistanceSourceToDetector": 1500.0,
        "DistanceSourceToPatient": 1250.0,
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": 8 * pixels.dtype.itemsize,
        "HighBit": 8 * pixels.dtype.itemsize - 1,
        "PixelRepresentation": 0,
    } | tags
    for keyword, value in stated.items():
        if value is not None:
            setattr(dataset, keyword, value)
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    save_dicom(dataset, path)
    return path


def write_picture(path: Path, pixels: np.ndarray, *, vector: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=vector), str(path))
    return path


def assert_same_up_to_scale(image: np.ndarray, expected: np.ndarray) -> None:
    """Equal after scale and offset are removed, and of the same sign."""
    expected = expected.astype(float)
    assert image.shape == expected.shape
    unit, wanted = ((part - part.min()) / np.ptp(part) for part in (image, expected))
    np.testing.assert_allclose(unit, wanted, atol=1e-5)
