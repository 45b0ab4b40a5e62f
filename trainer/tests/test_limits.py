"""The tables of limits and of plausible values: what scanners and panels make passes, what no file may ask for is refused."""

import math

import pytest

from clsdm import limits
from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS
from clsdm.plausible import PLAUSIBLE, check_plausible


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (432, 432), (4280, 3520), (10_000, 3_500), (2_928, 16_384)])
def test_every_real_image_is_let_through(rows, cols):
    limits.check_image_size(rows, cols, "x.dcm")


@pytest.mark.parametrize(("rows", "cols"), [(0, 5), (-1, 5), (65535, 65535), (16_385, 1), (10_000, 10_000)])
def test_an_image_of_no_size_or_of_one_that_no_panel_has_is_refused_by_name(rows, cols):
    with pytest.raises(InputError, match=rf"^x\.dcm: {rows} x {cols} pixels; expected"):
        limits.check_image_size(rows, cols, "x.dcm")
    with pytest.raises(InputError, match="bytes of pixels"):  # many frames count as much as large ones
        limits.check_image_size(2048, 2048, "x.dcm", samples=65)


@pytest.mark.parametrize("shape", [(512, 512, 2048), (1024, 1024, 512), (64, 64, 64)])
def test_every_real_scan_is_let_through(shape):
    limits.check_volume_size(shape, "x.nii", bits=32)


@pytest.mark.parametrize("shape", [(), (0, 4, 4), (-3, 4, 4), (32767, 32767, 32767), (8193, 4, 4), (1024, 1024, 1024)])
def test_a_volume_of_no_size_or_of_one_that_no_scanner_makes_is_refused_by_name(shape):
    with pytest.raises(InputError, match=r"^x\.nii: .*voxels; expected a volume"):
        limits.check_volume_size(shape, "x.nii")
    with pytest.raises(InputError, match=r"4,294,967,296 bytes of voxels; expected at most 2,147,483,648"):
        limits.check_volume_size((512, 512, 2048), "x.nii", bits=64)


def test_a_bomb_is_refused_and_an_empty_image_is_none():
    limits.check_expansion(1000, 60_000_000, "x.dcm")
    limits.check_expansion(100_000_000, 900_000_000, "x.dcm")
    with pytest.raises(InputError, match=r"x\.dcm: 1,000,000 bytes that unpack to 900,000,000"):
        limits.check_expansion(1_000_000, 900_000_000, "x.dcm")


def test_no_limit_lets_more_than_about_two_gigabytes_through():
    assert limits.IMAGE_PIXELS * (2 + 4 + 8) < 2**31  # as stored, as float32, and once as float64
    assert limits.VOLUME_BYTES <= 2**31
    assert limits.VOLUME_VOXELS * 4 <= 2**31


@pytest.mark.parametrize("value", [1.8, 180.0, 1e9, 1e-9, -1600.0, math.nan, math.inf])
def test_an_implausible_value_is_refused_with_its_name_its_range_and_its_unit(value):
    with pytest.raises(InputError, match=r"^f\.dcm: DistanceSourceToDetector is ") as caught:
        check_plausible("source_detector_mm", value, "f.dcm", "DistanceSourceToDetector")
    assert f"{value:g} mm; expected 300 to 6500 mm; in mm?" in str(caught.value)


def test_what_lies_in_the_range_passes_with_its_ends():
    for field, allowed in PLAUSIBLE.items():
        for value in (allowed.low, allowed.high):
            check_plausible(field, value, "here")


def test_every_preset_is_plausible():
    for machine in PRESETS.values():
        view = machine.view(0.0)
        check_plausible("source_axis_mm", view.source_axis_mm, machine.name)
        check_plausible("source_detector_mm", view.source_detector_mm, machine.name)
        check_plausible("axis_detector_mm", view.source_detector_mm - view.source_axis_mm, machine.name)
        check_plausible("panel_mm", machine.panel_mm, machine.name)
        check_plausible("pixel_mm", view.pixel_mm[0], machine.name)
