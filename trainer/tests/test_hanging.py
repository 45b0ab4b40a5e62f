"""Films that are upside down, mirrored, inverted or exchanged are found by what the model makes of them, and by how they look."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clsdm.errors import Cancelled, in_full
from clsdm.geometry.view import PRESETS
from clsdm.hanging import FLIPPED, INVERTED, MIRRORED, TURNED, Hang, Hanging, found, looked_for, rehung
from clsdm.model.bundle import Bundle
from clsdm.quality.agreement import Agreement
from clsdm.reconstruction import calibrated
from clsdm.simulate import simulate_xrays
from clsdm.volume.ct import CTVolume, Grid
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
    bundle = Bundle.open("openkbp64")
    return bundle, bundle.model(torch.device("cpu"))


@pytest.mark.parametrize(("after", "although"), [(0.08, False), (0.12, True)])
def test_a_note_says_when_looks_alone_speak_for_a_change(asymmetric_phantom, after, although):
    films = simulate_xrays(asymmetric_phantom, [PRESETS["chest"].view(angle, 32) for angle in (0.0, 90.0)])
    (note,) = Hanging((Hang(), MIRRORED), residual_before=0.1, residual_after=after).notes(films)
    assert note.startswith("the left lateral X-ray seems to hang mirrored; ")
    assert in_full(note).endswith("; right it with --flip lateral")
    assert note.endswith(f"a coarse estimate's residual would go from 10.0% to {after:.1%} of the contrast")
    assert ("it looks so" in note) is although


def trunk() -> CTVolume:
    """Neck and shoulders above, two lungs, a heart at the left and a spine behind: what a film shows of how it hangs."""
    grid = Grid(64, 6.0)
    axis_mm = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing_mm
    z, y, x = np.meshgrid(axis_mm, axis_mm, axis_mm, indexing="ij")  # LPS
    hu = np.where((x / 160) ** 2 + (y / 105) ** 2 < 1, 30.0, -1000.0)
    hu[(z > 130) & ((x / 60) ** 2 + (y / 55) ** 2 > 1)] = -1000.0
    for side in (-75, 75):
        hu[((x - side) / 50) ** 2 + ((y + 5) / 70) ** 2 + ((z - 40) / 85) ** 2 < 1] = -800.0
    hu[((x - 25) / 45) ** 2 + ((y + 25) / 40) ** 2 + (z / 45) ** 2 < 1] = 40.0
    hu[(x / 18) ** 2 + ((y - 60) / 18) ** 2 < 1] = 500.0
    return CTVolume.on_grid(hu, grid)


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [
        Hanging((RIGHT, RIGHT)), Hanging((TURNED, RIGHT)), Hanging((RIGHT, TURNED)), Hanging((INVERTED, INVERTED)),
        Hanging((RIGHT, RIGHT), swapped=True),
    ],
    ids=["right", "frontal upside down", "lateral upside down", "both inverted", "exchanged"],
)  # fmt: skip
def test_the_residual_alone_tells_the_one_change_that_rights_a_trunk(how, model):
    silent = dict.fromkeys(("orientation", "invert", "angle_deg"), "default")
    films = [replace(xray, origins=silent) for xray in simulate_xrays(trunk(), VIEWS)]
    seen = found(rehung(films, how), *model)
    assert (seen and (seen.hangs, seen.swapped)) == (
        None if how == Hanging((RIGHT, RIGHT)) else (how.hangs, how.swapped)
    )
    assert seen is None or seen.residual_after < 0.7 * seen.residual_before


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
    assert notes[0].startswith(
        "the frontal and the lateral X-ray seem to be exchanged; a coarse estimate's residual would go from"
    )


@pytest.mark.slow
def test_a_chest_upside_down_is_found_by_its_looks_though_the_default_explains_it_as_well(shared_data):
    bundle = Bundle.open()
    usual = calibrated(bundle)[1]
    xrays = simulate_xrays(read_ct(shared_data / "ct" / "chest" / "lidc_0006.nii.gz"), VIEWS)
    how = Hanging((TURNED, FLIPPED))
    seen = found(rehung(xrays, how), bundle, bundle.model(), usual)
    assert seen.hangs == how.hangs
    assert seen.residual_after > 0.8 * seen.residual_before
    assert found(xrays, bundle, bundle.model(), usual) is None


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
