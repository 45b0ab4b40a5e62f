"""The one table of plausible values."""

import math

import pytest

from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS
from clsdm.plausible import PLAUSIBLE, check_plausible


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
