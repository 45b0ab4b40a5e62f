"""Geometry that nobody wrote down is found: the height of a view from its profile, all of it from the residual."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from clsdm.geometry.view import PRESETS, View
from clsdm.model.bundle import Bundle, default_bundle_path
from clsdm.refine import USUAL, Move, Refinement, _better, _by_height, _cost, _search, moved, refine
from clsdm.simulate import simulate_xrays

STATED = [PRESETS["chest"].view(angle, 108) for angle in (0.0, 90.0)]


def films(ct, mistake: Move):
    """X-rays whose second view was taken with a mistake that their stated geometry does not have."""
    taken = simulate_xrays(ct, [STATED[0], moved(STATED[1], mistake)], (0.0, 0.0, 0.0))
    return [replace(xray, view=view) for xray, view in zip(taken, STATED, strict=True)]


def test_a_move_changes_the_view_it_names():
    view = View(90.0, 1600.0, 1800.0, 100, 100, (2.0, 2.0), 1.0, (3.0, 4.0))
    assert moved(view, Move()) == view
    assert moved(view, Move(2.0, -1.0, 5.0, 1.25)) == View(92.0, 1280.0, 1800.0, 100, 100, (2.0, 2.0), 0.0, (8.0, 4.0))


@pytest.mark.parametrize("down_mm", [-24.0, 0.0, 20.0])
def test_the_height_of_a_view_is_found_by_what_lies_at_each_height(asymmetric_phantom, down_mm):
    moves = _by_height(films(asymmetric_phantom, Move(down_mm=down_mm)), [Move(), Move()], [1])
    assert moves[0] == Move()
    assert moves[1].down_mm == pytest.approx(down_mm, abs=4.0)


def test_the_search_goes_down_a_bowl_and_leaves_the_first_view_alone():
    bottom = Move(4.0, -1.0, 12.0, 1.03)

    def bowl(moves) -> float:
        gaps = [(getattr(moves[1], name) - getattr(bottom, name)) / getattr(USUAL, name) for name in vars(bottom)]
        return 0.3 * sum(gap**2 for gap in gaps) ** 0.5

    steps: list[tuple[int, int]] = []
    first, second = _search(bowl, [Move(), Move()], [1], lambda _, done, total: steps.append((done, total)))
    assert first == Move()
    for name, value in vars(bottom).items():
        assert getattr(second, name) == pytest.approx(value, abs=0.25 * getattr(USUAL, name))
    assert steps[-1][0] == steps[-1][1]


def test_a_move_that_explains_nothing_costs_and_is_not_made():
    assert _cost(0.1, [Move(2.0)]) > _cost(0.1, [Move()])
    assert _better(lambda _: 0.1, [Move(), Move()], _cost(0.1, [Move()]), 1, "angle_deg", 1.0)[0] == [Move(), Move()]


def test_what_was_found_is_said_in_words(asymmetric_phantom):
    xrays = tuple(films(asymmetric_phantom, Move()))
    notes = Refinement(xrays, (Move(), Move(-2.0, 0.0, 18.0, 1.03)), 0.09, 0.04).notes
    assert "the angle -2.0 degrees off" in notes[0]
    assert "18 mm" in notes[0]
    assert "the magnification +3.0% off" in notes[0]
    assert notes[1] == "geometry: the residual fell from 9.0% to 4.0% of the contrast"
    assert "nothing better" in Refinement(xrays, (Move(), Move()), 0.1, 0.1).notes[0]


@pytest.mark.slow
def test_a_lateral_view_taken_higher_is_found_with_the_embedded_model(asymmetric_phantom):
    bundle = Bundle.open(default_bundle_path())
    model = bundle.model(torch.device("cpu"))
    found = refine(films(asymmetric_phantom, Move(down_mm=20.0)), bundle, model)
    assert found.moves[0] == Move()
    assert found.moves[1].down_mm == pytest.approx(20.0, abs=6.0)
    assert found.residual_after < 0.8 * found.residual_before
    alone = refine(films(asymmetric_phantom, Move())[:1], bundle, model)
    assert (alone.moves, alone.residual_after) == ((Move(),), alone.residual_before)
