"""Films that hang upside down or mirrored are found by what the model makes of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsdm.geometry.view import PRESETS
from clsdm.hanging import Hang, found, notes, rehung
from clsdm.model.bundle import Bundle, default_bundle_path
from clsdm.simulate import simulate_xrays
from clsdm.volume.read import read_ct


def test_a_film_that_is_hung_the_same_way_twice_is_as_it_was(asymmetric_phantom):
    view = replace(PRESETS["chest"].view(90.0, 108), offset_mm=(5.0, -3.0))
    (xray,) = simulate_xrays(asymmetric_phantom, [view], (0.0, 0.0, 0.0))
    for hang in (Hang(True), Hang(mirrored=True), Hang(True, True)):
        once = rehung(xray, hang)
        assert not np.array_equal(once.image, xray.image)
        twice = rehung(once, hang)
        np.testing.assert_array_equal(twice.image, xray.image)
        assert twice.view == xray.view
    assert rehung(xray, Hang(mirrored=True)).view.offset_mm == (5.0, 3.0)


@pytest.mark.slow
def test_on_chests_the_wrong_ways_are_found_and_the_right_one_is_left_alone(shared_data):
    bundle = Bundle.open(default_bundle_path())
    model = bundle.model(torch.device("cpu"))
    views = [PRESETS["chest"].view(angle, 432) for angle in (0.0, 90.0)]
    ct = read_ct(shared_data / "ct" / "chest" / "lungdx_a0001.nii.gz")
    xrays = simulate_xrays(ct, views)
    for wrong in ((Hang(), Hang()), (Hang(), Hang(mirrored=True)), (Hang(True), Hang()), (Hang(), Hang(True, True))):
        hung = [rehung(xray, hang) for xray, hang in zip(xrays, wrong, strict=True)]
        assert found(hung, bundle, model).hangs == wrong
    assert found(xrays[:1], bundle, model).hangs == (Hang(),)
    mirrored = [xrays[0], rehung(xrays[1], Hang(mirrored=True))]
    assert notes(mirrored, bundle, model) == ()  # they are said to lie so
    (said,) = notes([replace(xray, origins={"orientation": "default"}) for xray in mirrored], bundle, model)
    assert said.startswith(f"{xrays[1].source}: seems to hang mirrored (--flip); the residual would fall from")
