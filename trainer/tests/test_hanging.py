"""Films that are upside down, mirrored, inverted or exchanged are found by what the model makes of them, and by how they look."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsdm.errors import Cancelled
from clsdm.geometry.view import PRESETS
from clsdm.hanging import FLIPPED, INVERTED, MIRRORED, TURNED, Hang, Hanging, found, looked_for, rehung
from clsdm.model.bundle import Bundle, default_bundle_path
from clsdm.quality.agreement import Agreement
from clsdm.reconstruction import calibrated
from clsdm.simulate import simulate_xrays
from clsdm.volume.read import read_ct

RIGHT = Hang()
VIEWS = [PRESETS["chest"].view(angle, 216) for angle in (0.0, 90.0)]


def test_films_that_are_hung_the_same_way_twice_are_as_they_were(asymmetric_phantom):
    views = [replace(view, offset_mm=(5.0, -3.0)) for view in VIEWS]
    xrays = simulate_xrays(asymmetric_phantom, views, (0.0, 0.0, 0.0))
    for how in (Hanging((TURNED, FLIPPED)), Hanging((INVERTED, MIRRORED)), Hanging((RIGHT, RIGHT), swapped=True)):
        once = rehung(xrays, how)
        assert any(
            one.view != other.view or (one.image != other.image).any() for one, other in zip(once, xrays, strict=True)
        )
        for xray, twice in zip(xrays, rehung(once, how), strict=True):
            np.testing.assert_array_equal(twice.image, xray.image)
            assert twice.view == xray.view
    assert rehung(xrays, Hanging((RIGHT, MIRRORED)))[1].view.offset_mm == (5.0, 3.0)


@pytest.fixture(scope="module")
def model():
    bundle = Bundle.open(default_bundle_path())
    return bundle, bundle.model(torch.device("cpu"))


@pytest.mark.slow
def test_on_a_chest_wrong_ways_are_found_and_the_right_one_is_left_alone(shared_data, model):
    xrays = simulate_xrays(read_ct(shared_data / "ct" / "chest" / "lungdx_a0001.nii.gz"), VIEWS)
    usual = calibrated(model[0])[1]
    wrong = [Hanging((RIGHT, MIRRORED)), Hanging((TURNED, RIGHT)), Hanging((RIGHT, FLIPPED)), Hanging((INVERTED, INVERTED)),
             Hanging((RIGHT, RIGHT), swapped=True)]  # fmt: skip
    for how in wrong:
        seen = found(rehung(xrays, how), *model, usual)
        assert (seen.hangs, seen.swapped) == (how.hangs, how.swapped)
        assert seen.residual_after < seen.residual_before
    close = [Agreement(0.05, 0.999)] * 2
    assert looked_for(xrays, close, *model, usual) is None
    assert looked_for(rehung(xrays, wrong[0]), close, *model, usual).hangs == wrong[0].hangs  # by its looks
    assert found(xrays[:1], *model, usual) is None
    notes = seen.notes(xrays)
    assert notes[0].startswith("the frontal and the lateral film seem to be exchanged; the residual would go from")


@pytest.mark.slow
def test_what_a_file_or_the_user_says_is_not_doubted_without_looks_and_the_search_can_be_cancelled(shared_data, model):
    xrays = simulate_xrays(read_ct(shared_data / "ct" / "chest" / "crlm_1006.nii.gz"), VIEWS)
    mirrored = rehung(xrays, Hanging((RIGHT, MIRRORED)))
    assert found(mirrored, *model) is None
    unsaid = [replace(xray, origins={"orientation": "default"}) for xray in mirrored]
    assert found(unsaid, *model).hangs == (RIGHT, MIRRORED)

    def stop(stage, done, total):
        raise Cancelled

    with pytest.raises(Cancelled):
        found(unsaid, *model, report=stop)
