"""Geometry that nobody wrote down is found: the height of a view from its profile, all of it from the residual."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_bundle import FINER, small_bundle

from clsdm.geometry.move import SPIKE, USUAL, Move, moved, unlikely
from clsdm.geometry.view import PRESETS, View
from clsdm.model.bundle import Bundle
from clsdm.quality.symmetry import asymmetry
from clsdm.reconstruction import Options, reconstruct
from clsdm.refine import BY_PROFILE, BY_RESIDUAL, Explained, Refinement, _better, _cost, _search, _turned, refine
from clsdm.simulate import simulate_xrays
from clsdm.xray.profiles import by_profile

STATED = [PRESETS["chest"].view(angle, 108) for angle in (0.0, 90.0)]


def films(ct, mistake: Move):
    """X-rays whose second view was taken with a mistake that their stated geometry does not have."""
    taken = simulate_xrays(ct, [STATED[0], moved(STATED[1], mistake)], (0.0, 0.0, 0.0))
    return [replace(xray, view=view) for xray, view in zip(taken, STATED, strict=True)]


def test_a_move_changes_the_view_it_names():
    view = View(90.0, 1600.0, 1800.0, 100, 100, (2.0, 2.0), 1.0, (3.0, 4.0))
    assert moved(view, Move()) == view
    assert moved(view, Move(2.0, -1.0, 5.0, 1.25)) == View(92.0, 1280.0, 1800.0, 100, 100, (2.0, 2.0), 0.0, (8.0, 4.0))


@pytest.mark.parametrize(
    "mistake", [Move(), Move(down_mm=-24.0), Move(scale=1.05), Move(down_mm=15.0, scale=0.96)], ids=str
)
@pytest.mark.parametrize("exposure", [1.0, 0.3])
def test_height_and_scale_are_found_by_what_lies_at_each_height(asymmetric_phantom, mistake, exposure):
    first, other = films(asymmetric_phantom, mistake)
    found = by_profile(first, replace(other, image=other.image * exposure + 7.0))
    assert found.down_mm == pytest.approx(mistake.down_mm, abs=2.5)
    assert found.scale == pytest.approx(mistake.scale, abs=0.015)
    assert (found.angle_deg, found.tilt_deg) == (0.0, 0.0)
    assert (found == Move()) == (mistake == Move())


@pytest.mark.parametrize("scale", [0.85, 1.2])
def test_a_patient_is_never_found_behind_the_detector_nor_further_off_than_is_looked_for(asymmetric_phantom, scale):
    near = [replace(view, source_axis_mm=1500.0) for view in STATED]
    taken = simulate_xrays(asymmetric_phantom, [near[0], moved(near[1], Move(scale=scale))], (0.0, 0.0, 0.0))
    found = by_profile(taken[0], replace(taken[1], view=replace(near[1], source_axis_mm=1700.0)))
    assert found is None or 0.9 <= found.scale <= 1.1
    moved(near[1], found or Move())


def test_a_film_of_which_hardly_a_row_is_measured_tells_no_height(asymmetric_phantom):
    first, other = films(asymmetric_phantom, Move(down_mm=20.0))
    valid = np.zeros(other.image.shape, dtype=bool)
    valid[:10] = True
    assert by_profile(first, replace(other, valid=valid)) is None


def test_the_search_goes_down_a_bowl_and_leaves_the_first_view_alone():
    bottom, names = Move(7.0, -1.0, 12.0, 1.03), (*BY_RESIDUAL, *BY_PROFILE)

    def bowl(moves) -> float:
        gaps = [(getattr(moves[1], name) - getattr(bottom, name)) / getattr(USUAL, name) for name in names]
        return 0.05 + 0.3 * sum(gap**2 for gap in gaps) ** 0.5

    first, second = _search(bowl, [Move(), Move(7.0)], 1, names)
    assert first == Move()
    for name, value in vars(bottom).items():
        assert getattr(second, name) == pytest.approx(value, abs=0.3 * getattr(USUAL, name))


def test_a_move_that_explains_little_costs_more_and_is_not_made():
    assert unlikely(Move()) == 0.0
    assert unlikely(Move(2.0, 0.0, 20.0)) > unlikely(Move(2.0)) > SPIKE
    for misfit in (lambda _: 0.1, lambda moves: 0.1 - 0.002 * abs(moves[1].down_mm) / 20.0):
        start = [Move(), Move()]
        assert _better(misfit, start, _cost(misfit, start), 1, "down_mm", 10.0)[0] == start


@pytest.mark.parametrize(("best_at", "found"), [(0.3, 0.0), (-3.0, -3.0), (5.0, 5.0), (30.0, 12.0)])
def test_the_angle_goes_to_where_the_volume_is_turned_unless_that_is_noise(best_at, found):
    def bowl(moves) -> float:
        return 1e6 * (moves[1].angle_deg - best_at) ** 2  # beside which the prior is nothing

    first, second = _turned(bowl, [Move(), Move(down_mm=3.0)], 1)
    assert first == Move()
    assert second.angle_deg == pytest.approx(found, abs=1e-3)
    assert second.down_mm == 3.0


def test_an_angle_far_off_is_found_where_its_cost_changes_ever_less_on_the_way():
    found = _turned(lambda moves: abs(moves[1].angle_deg - 8.0) ** 0.5, [Move(), Move()], 1)
    assert found[1].angle_deg == pytest.approx(8.0, abs=1.5)
    assert _turned(lambda _: 5.0, [Move(), Move()], 1) == [Move(), Move()]
    flat = _turned(lambda moves: 0.002 * (moves[1].angle_deg - 4.0) ** 2, [Move(), Move()], 1)
    assert flat[1].angle_deg == pytest.approx(2.0, abs=1e-3)  # half way, where cost and prior weigh the same


def test_a_sheared_body_is_less_symmetric_and_a_turned_or_shifted_one_hardly():
    _, y, x = torch.meshgrid(*[torch.arange(48.0) - 23.5] * 3, indexing="ij")

    def body(shear: float = 0.0, turned_deg: float = 0.0, shift: float = 0.0) -> torch.Tensor:
        turn = math.radians(turned_deg)
        at = x - shift
        across, behind = at * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - at * math.sin(turn)
        behind = behind + shear * across
        hu = torch.where((across / 18) ** 2 + (behind / 12) ** 2 < 1, 40.0, -1000.0)
        for side in (-8, 8):
            hu = torch.where(((across - side) / 6) ** 2 + ((behind + 2) / 8) ** 2 < 1, -800.0, hu)
        return torch.where(across**2 + (behind - 8) ** 2 < 9, 300.0, hu)

    sheared = asymmetry(body(shear=0.1))
    assert max(asymmetry(body(shift=3.0)), asymmetry(body(turned_deg=2.0))) < sheared - 0.2
    assert sheared < asymmetry(body(shear=0.2))


def test_what_a_model_refines_is_looked_for_in_its_coarse_estimate(tmp_path, asymmetric_phantom, monkeypatch):
    bundle = small_bundle(tmp_path / "bundle", replace(FINER, condition=replace(FINER.condition, fine=(8, 8))))
    model = bundle.model()
    monkeypatch.setattr(model.condition.refine, "forward", None)
    explained = Explained(films(asymmetric_phantom, Move()), bundle, model)
    assert 0.0 < explained.residual([Move()] * 2) < 10.0


def test_a_search_judges_as_the_result_does_whatever_the_models_own_detector(tmp_path, asymmetric_phantom):
    bundle, xrays = small_bundle(tmp_path / "bundle", FINER), films(asymmetric_phantom, Move())
    residuals = reconstruct(xrays, bundle, Options("mean", device="cpu", measure=False)).residuals
    own = math.sqrt(np.mean([each.agreement.contrast_fraction**2 for each in residuals]))
    assert Explained(xrays, bundle, bundle.model()).residual([Move()] * 2) == pytest.approx(own, rel=1e-5)


def test_what_was_found_is_said_in_words(asymmetric_phantom):
    xrays = tuple(films(asymmetric_phantom, Move()))
    notes = Refinement(xrays, (Move(), Move(-2.0, 0.0, 18.0, 1.03)), 0.09, 0.04).notes
    assert "the angle -2.0 degrees off" in notes[0]
    assert "18 mm" in notes[0]
    assert "the magnification +3.0% off" in notes[0]
    assert notes[1] == "geometry: a coarse estimate's residual went from 9.0% to 4.0% of the contrast"
    assert "one X-ray alone" in Refinement(xrays[:1], (Move(),), 0.1, 0.1).notes[0]
    assert "nothing better" in Refinement(xrays, (Move(), Move()), 0.1, 0.1).notes[0]


@pytest.mark.slow
def test_a_lateral_view_taken_higher_is_found_with_a_trained_model(asymmetric_phantom):
    bundle = Bundle.open("openkbp64")
    model = bundle.model(torch.device("cpu"))
    found = refine(films(asymmetric_phantom, Move(down_mm=20.0)), bundle, model)
    assert found.moves[0] == Move()
    assert found.moves[1].down_mm == pytest.approx(20.0, abs=6.0)
    assert found.residual_after < 0.8 * found.residual_before
    alone = refine(films(asymmetric_phantom, Move())[:1], bundle, model)
    assert (alone.moves, alone.residual_after) == ((Move(),), alone.residual_before)
