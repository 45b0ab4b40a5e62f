"""Which values and grids are a CT, and what is said of those that were clipped."""

import json
from pathlib import Path

import numpy as np
import pytest
from small_bundle import run, small_phantom

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct
from clsdm.volume.write import write_ct


@pytest.fixture
def ct() -> CTVolume:
    """The phantom with the noise of a scanner, and bone from 300 HU on."""
    phantom = small_phantom()
    random = np.random.default_rng(0)
    hu = phantom.hu + random.normal(0.0, 30.0, phantom.hu.shape)
    bone = phantom.hu > 500
    hu[bone] = random.uniform(100.0, 1500.0, int(bone.sum()))
    hu[4:28, 14:18, 14:18] = random.uniform(100.0, 1500.0, (24, 4, 4))
    return CTVolume(hu.round().astype(np.float32), phantom.spacing_mm, phantom.origin_mm)


def clipped(ct: CTVolume, path: Path, low: float, high: float) -> Path:
    write_ct(CTVolume(ct.hu.clip(low, high), ct.spacing_mm, ct.origin_mm), path)
    return path


def test_a_whole_scan_is_read_without_a_word(ct: CTVolume, tmp_path: Path):
    assert read_ct(clipped(ct, tmp_path / "ct.nii.gz", -3000, 3000)).notes == ()


@pytest.mark.parametrize(("low", "high"), [(-160, 240), (-450, 1500), (-200, 300)])
def test_a_scan_clipped_to_a_window_shows_no_air_and_is_refused(ct: CTVolume, tmp_path: Path, low: float, high: float):
    with pytest.raises(InputError, match=f"values {low} .* clipped to a window .*air near -1000"):
        read_ct(clipped(ct, tmp_path / "ct.nrrd", low, high))


@pytest.mark.parametrize("high", [150, 400])
def test_bone_that_was_clipped_is_said(ct: CTVolume, tmp_path: Path, high: float):
    (note,) = read_ct(clipped(ct, tmp_path / "ct.mha", -1000, high)).notes
    assert f"{high} HU, the highest value: bone was clipped" in note


def test_a_phantom_of_few_values_was_not_clipped(tmp_path: Path):
    write_ct(small_phantom(), tmp_path / "ct.nii")
    assert read_ct(tmp_path / "ct.nii").notes == ()


def test_values_of_another_slope_or_byte_order_are_refused_or_said(ct: CTVolume, tmp_path: Path):
    write_ct(CTVolume(2 * ct.hu - 10000, ct.spacing_mm, ct.origin_mm), tmp_path / "low.nrrd")
    with pytest.raises(InputError, match="are not HU"):
        read_ct(tmp_path / "low.nrrd")
    swapped = ct.hu.astype("<i2").view(">i2").astype(np.float32)
    write_ct(CTVolume(swapped, ct.spacing_mm, ct.origin_mm), tmp_path / "swapped.nrrd")
    (note,) = read_ct(tmp_path / "swapped.nrrd").notes
    assert "is between -300 and 400 HU, as tissue is; are the values HU?" in note


@pytest.mark.parametrize(
    ("spacing", "said"),
    [
        ((0.012, 0.012, 0.012), r"voxel spacing along x is 0\.012 mm; expected 0\.05 to 25 mm; in mm\?"),
        ((12.0, 12.0, 120.0), "voxel spacing along z is 120 mm"),
        ((0.1, 0.1, 0.1), r"extent along x is 3\.2 mm; expected 20 to 3000 mm"),
    ],
)
def test_a_spacing_of_no_scan_is_refused(ct: CTVolume, tmp_path: Path, spacing: tuple[float, ...], said: str):
    write_ct(CTVolume(ct.hu, spacing, ct.origin_mm), tmp_path / "ct.nrrd")
    with pytest.raises(InputError, match=said):
        read_ct(tmp_path / "ct.nrrd")


def test_what_was_decided_while_reading_is_said_by_project_and_compare(ct: CTVolume, tmp_path: Path, capfd):
    file = clipped(ct, tmp_path / "ct.nii.gz", -1000, 400)
    code, _, said = run(capfd, "project", file, "--out", tmp_path / "xrays", "--quiet")
    assert (code, "note: " in said, "bone was clipped" in said) == (0, True, True)
    code, out, _ = run(capfd, "project", file, "--out", tmp_path / "xrays", "--json")
    assert "bone was clipped" in json.loads(out.splitlines()[-1])["result"]["notes"][0]
    code, _, said = run(capfd, "compare", file, file, "--out", tmp_path / "report", "--quiet")
    assert (code, "bone was clipped" in said) == (0, True)
    assert "bone was clipped" in (tmp_path / "report" / "metrics.json").read_text()
