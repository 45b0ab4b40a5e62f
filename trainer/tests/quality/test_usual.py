"""Films and volumes that are unlike the patients a model was checked on are said to be so."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from torso import torso

from clsdm.errors import InputError
from clsdm.quality.usual import Shown, described, detail_of, doubts, kind_of, leaning, usual_from
from clsdm_bench.numbers.calibrate import usual_of


def described_whole(image: np.ndarray) -> np.ndarray:
    return described(image.astype(np.float32), np.ones(image.shape, dtype=np.float32))


def patient(seed: int) -> Shown:
    """A torso that is a little shifted, with its frontal film on both sides."""
    film = described_whole(np.roll(torso(), (seed * 3, seed), (0, 1)))
    return Shown(
        {"frontal": [film], "lateral": [film]}, 0.97 + 0.002 * seed, 0.9 + 0.01 * seed, 0.02, 220.0 + 10.0 * seed
    )


NOISE = np.random.default_rng(0).random((200, 200))
USUAL = usual_of([[patient(seed)] for seed in range(6)])


def test_a_box_has_edges_and_no_fine_structure() -> None:
    box = np.zeros((64, 64), dtype=np.float32)
    box[10:50, 20:40] = 1.0
    noise = 0.1 * np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    ones = np.ones_like(box)
    assert detail_of(2 * box - 1, ones) < 1e-6
    assert detail_of(2 * box - 1 + noise, ones) > 0.03


def test_exposure_and_tone_do_not_show() -> None:
    film = torso().astype(np.float64)
    assert np.dot(described_whole(film), described_whole(np.sqrt(film) * 40.0 + 7.0)) > 0.99


def test_another_patient_like_them_is_not_doubted() -> None:
    assert doubts(replace(patient(3), descriptions={"frontal": [described_whole(np.roll(torso(), 7, 0))]}), USUAL) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"descriptions": {"frontal": [described_whole(NOISE)]}}, "frontal X-ray looks like none of the 6 patients"),
        ({"descriptions": {"lateral": [described_whole(-torso().astype(float))]}}, "lateral X-ray looks like none"),
        ({"correlation": 0.8}, "explains its X-rays worse"),
        ({"correlation": 0.8}, f"usual from {2 * 0.97 - 1:.3f} on"),
        ({"heights": 0.1}, "same at the same heights"),
        ({"heights": -1.0}, "too little in common to be compared"),
        ({"detail": 0.001}, "hardly any fine structure"),
        ({"water_mm": 90.0}, "90 mm of water thick"),
    ],
)  # fmt: skip
def test_what_is_unlike_them_is_said_in_words(change, words) -> None:
    (said,) = doubts(replace(patient(2), **change), USUAL)
    assert words in said


@pytest.mark.parametrize(
    "change",
    [{"films": {"frontal": [[0.1, 0.2]]}}, {"films": {"frontal": 3}}, {"alike": {}}, {"alike": {"frontal": [1], "lateral": 0}}],
)  # fmt: skip
def test_a_table_of_xrays_that_are_none_is_refused(change) -> None:
    table = json.loads(json.dumps(asdict(USUAL)))
    assert usual_from(table, "table") is not None
    # Of two patients, and an earlier version's.
    assert usual_from(table | {"films": {}, "alike": {}, "better": {}}, "table") is not None
    with pytest.raises(InputError, match="table: usual: expected as many X-rays of each kind, of 256 numbers"):
        usual_from(table | change, "table")


def test_films_lean_towards_how_those_of_patients_hang() -> None:
    patients = np.array(USUAL.films["frontal"])

    def turned(films: np.ndarray) -> np.ndarray:
        return films.reshape(-1, 16, 16)[:, ::-1].reshape(films.shape)

    film = described_whole(np.roll(torso(), 7, 0))[None]
    assert leaning(film, turned(film), patients, turned(patients)) < -0.9
    assert leaning(turned(film), film, patients, turned(patients)) > 0.9
    assert leaning(film, film, patients, patients) == 0.0


def test_what_was_seen_under_other_conditions_is_usual_too() -> None:
    worse = [
        replace(patient(seed), correlation=0.8, heights=0.5, descriptions={"frontal": [described_whole(NOISE)]})
        for seed in range(6)
    ]
    both = usual_of([[patient(seed), each] for seed, each in enumerate(worse)])
    assert (both.patients, len(both.films["frontal"]), len(both.films["lateral"])) == (6, 12, 6)
    assert (USUAL.correlation, both.correlation, both.heights) == (0.94, 0.8, 0.5)
    assert doubts(worse[0], both) == []
    assert len(doubts(worse[0], USUAL)) == 3


@pytest.mark.parametrize(
    ("angle", "kind"),
    [(0, "frontal"), (180, "frontal"), (20, "frontal"), (90, "lateral"), (-90, "lateral"), (45, None)],
)
def test_a_film_is_compared_with_its_kind(angle, kind) -> None:
    assert kind_of(angle) == kind
