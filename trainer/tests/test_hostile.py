"""Damaged and hostile inputs, one of a kind, made here: each is refused in one line, and nothing is left behind."""

import gzip
import json
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from processes import peak_memory_bytes
from small_bundle import small_phantom

from clsdm.app.cli import main
from clsdm.volume.write import write_ct
from clsdm.xray.read import read_xray


def refused(capfd: pytest.CaptureFixture[str], out: Path, *command: object) -> str:
    """The one line that says why; nothing is written."""
    capfd.readouterr()
    assert main([*(str(each) for each in command), "--out", str(out)]) == 2
    err = [line for line in capfd.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert len(err) == 1, err
    assert not out.exists()
    return err[0]


def nifti(path: Path, at: int, kind: str, *values: float) -> Path:
    """A CT with other numbers somewhere in its header."""
    write_ct(small_phantom(), path)
    data = bytearray(path.read_bytes())
    struct.pack_into(kind, data, at, *values)
    path.write_bytes(data)
    return path


SCANS: dict[str, Callable[[Path], Path]] = {
    "HU of 1e30": lambda folder: _floats(folder / "a.nii"),
    "a spacing that is no number": lambda folder: nifti(folder / "a.nii", 80, "<f", float("nan")),
    "voxels in the header": lambda folder: nifti(folder / "a.nii", 108, "<f", 0.0),
    "negative sizes": lambda folder: nifti(folder / "a.nii", 42, "<3h", -3, 4, 4),
    "wider type than the data": lambda folder: nifti(folder / "a.nii", 70, "<2h", 64, 64),
    "a bomb of zeros": lambda folder: _bomb(folder / "a.nii.gz"),
}


def _floats(path: Path) -> Path:
    ct = small_phantom()
    ct.hu[3, 3, 3] = 1e30
    write_ct(ct, path, decimals=True)
    return path


def _bomb(path: Path) -> Path:
    with gzip.open(path, "wb") as file:
        file.write(nifti(path.with_name("b.nii"), 42, "<3h", 1024, 1024, 200).read_bytes()[:352])
        for _ in range(400):
            file.write(bytes(2**20))
    return path


@pytest.mark.parametrize("kind", SCANS)
def test_a_hostile_scan_is_refused(kind, tmp_path, capfd):
    before = peak_memory_bytes()
    refused(capfd, tmp_path / "out", "project", SCANS[kind](tmp_path))
    assert peak_memory_bytes() - before < 1e9


@pytest.mark.parametrize("field", ["ElementDataFile : {}", "ElementDataFile: {}", "  ElementDataFile = {}"])
def test_the_header_of_a_film_is_understood_as_itk_does(field, films, tmp_path, capfd):
    """ITK takes a colon for the sign of equality; what we check must be what is read."""
    (tmp_path / "study").mkdir()
    pixels = pydicom.dcmread(films / "frontal.dcm").pixel_array.astype("<u2")
    for place in (tmp_path, tmp_path / "study"):
        (place / "film.raw").write_bytes(pixels.tobytes())
    header = tmp_path / "study" / "film.mhd"
    size = f"{pixels.shape[1]} {pixels.shape[0]}"
    text = f"ObjectType = Image\nNDims = 2\nDimSize = {size}\nElementSpacing = 8 8\nElementType = MET_USHORT\n"
    header.write_text(text + field.format(tmp_path / "film.raw") + "\nElementDataFile = film.raw\n")
    assert "in the folder of the header" in refused(capfd, tmp_path / "r.nii.gz", "reconstruct", "--frontal", header)
    header.write_text(text + field.format("film.raw") + "\n")
    assert read_xray(header, 0.0).image.shape == pixels.shape


@pytest.mark.parametrize(
    "named",
    ["../voxels.raw", "/etc/hostname", "sub/voxels.raw", "LIST\n../voxels.raw", "v%03d.raw 1 9 1", "fifo", "link"],
)
@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_header_does_not_lead_to_voxels_elsewhere(named, suffix, tmp_path, capfd):
    folder = tmp_path / "study"
    (folder / "sub").mkdir(parents=True)
    voxels = np.full((16, 16, 16), -1000, np.int16)
    voxels[4:12] = 40
    for place in (tmp_path, folder / "sub", folder):
        (place / "voxels.raw").write_bytes(voxels.tobytes())
    (folder / "link").symlink_to(tmp_path / "voxels.raw")
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "fifo")
    if suffix == ".mhd":
        text = "ObjectType = Image\nNDims = 3\nDimSize = 16 16 16\nElementSpacing = 5 5 5\nElementType = MET_SHORT\n"
        text += "ElementDataFile = {}\n"
    else:
        text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 16 16 16\nspacings: 5 5 5\nencoding: raw\nendian: little\n"
        text += "data file: {}\n"
    header = folder / f"ct{suffix}"
    header.write_text(text.format(named))
    assert f"ct{suffix}" in refused(capfd, tmp_path / "out", "project", header)
    header.write_text(text.format("voxels.raw"))
    assert main(["project", str(header), "--out", str(tmp_path / "out")]) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs special files")
def test_special_files_are_refused_and_not_waited_for(films, tmp_path, capfd):
    fifo, volume, out = tmp_path / "x.dcm", tmp_path / "x.nii", tmp_path / "r.nii.gz"
    os.mkfifo(fifo)
    os.mkfifo(volume)
    for command in (
        ["reconstruct", "--frontal", fifo],
        ["reconstruct", "--frontal", "/dev/zero"],
        ["reconstruct", "--frontal", films / "frontal.dcm", "--bundle", fifo],
        ["project", fifo],
        ["project", "/dev/zero"],
        ["compare", volume],
    ):
        assert "a FIFO, expected" in (said := refused(capfd, out, *command)) or "a device, expected" in said
    (tmp_path / "sparse.dcm").write_bytes((films / "frontal.dcm").read_bytes())
    os.truncate(tmp_path / "sparse.dcm", 100 * 2**30)
    assert "400 bytes of a DICOM file" in refused(capfd, out, "reconstruct", "--frontal", tmp_path / "sparse.dcm")
    assert main(["reconstruct", str(fifo)]) == 2
    assert "a FIFO, expected a request" in capfd.readouterr().err


def test_a_request_with_impossible_paths_is_refused(films, tmp_path, capfd):
    for field, value in (("out", "a\0.nii.gz"), ("bundle", "a\0b"), ("out", ""), ("bundle", "")):
        request = {"views": [{"file": str(films / "frontal.dcm")}], "out": str(tmp_path / "r.nii.gz")} | {field: value}
        (tmp_path / "q.json").write_text(json.dumps(request))
        assert main(["reconstruct", str(tmp_path / "q.json")]) == 2
        assert field in capfd.readouterr().err
    request = {"views": [{"file": "a\0b.dcm"}], "out": str(tmp_path / "r.nii.gz")}
    (tmp_path / "q.json").write_text(json.dumps(request))
    assert main(["reconstruct", str(tmp_path / "q.json")]) == 2
    (tmp_path / "q.json").write_text(" " * (17 * 2**20) + "{}")
    assert main(["reconstruct", str(tmp_path / "q.json")]) == 2
    assert "17,825,794 bytes of a request" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["q.json"]
