"""The registry of formats: one entry is all that a new one takes."""

from pathlib import Path

import numpy as np
import pytest

from clsdm.errors import InputError
from clsdm.xray import formats
from clsdm.xray.formats import FORMATS, Format, Wanted, read_stored
from clsdm.xray.orient import Known, StoredXRay, blank
from clsdm.xray.read import GeometryOverrides, inspect_xray, read_xray

SHAPE = (96, 80)


def read_raw(path: Path, wanted: Wanted) -> StoredXRay:
    """Bytes in rows, nothing else."""
    image = np.fromfile(path, np.uint8).reshape(SHAPE).astype(np.float32) if wanted.pixels else blank(*SHAPE)
    return StoredXRay(image, str(path), known=Known(pixel_mm=(4.0, 4.0)))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of a format that is registered for this test."""
    monkeypatch.setattr(formats, "FORMATS", (*FORMATS, Format("raw", read_raw, (".raw",))))
    path = tmp_path / "film.RAW"
    rows, cols = np.mgrid[: SHAPE[0], : SHAPE[1]]
    (rows + 2 * cols).astype(np.uint8).tofile(path)
    return path


def test_a_format_that_is_registered_is_read_with_its_geometry(raw):
    xray = read_xray(raw, 0.0, GeometryOverrides(invert=False))
    assert xray.image.shape == SHAPE
    assert xray.view.pixel_mm == (4.0, 4.0)
    assert inspect_xray(raw).rows == SHAPE[0]


def test_a_file_of_no_format_is_refused_with_those_there_are(tmp_path):
    path = tmp_path / "film.raw"
    path.write_bytes(bytes(1000))
    with pytest.raises(InputError, match=r"film\.raw: not a DICOM file, and not one of \.png .*\.mhd"):
        read_stored(path, Wanted())


def test_every_suffix_belongs_to_one_format():
    suffixes = [suffix for each in FORMATS for suffix in each.suffixes]
    assert len(suffixes) == len(set(suffixes)) > 10
