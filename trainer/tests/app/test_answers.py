"""A reconstruction that a server answers with is looked at before files are made of it."""

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clsdm.app.answers import unpack_reconstruction
from clsdm.app.request import xrays_of
from clsdm.app.tasks import TASKS
from clsdm.app.worker import Answer
from clsdm.errors import InputError, reading
from clsdm.options import Options

HOW = Options("ensemble", samples=2, seed=3, device="cpu")
PLAIN = {"product": "ensemble", "samples": 2, "seed": 3, "device": "cpu"}
Change = Callable[[Answer], Any]


@pytest.fixture(scope="module")
def whole(small_model, films, tmp_path_factory) -> Answer:
    """An answer to :data:`HOW`, of one X-ray; "folder" is that of its arrays."""
    folder = tmp_path_factory.mktemp("whole")
    views = [{"file": str(films / "frontal.dcm")}]
    answer = TASKS["reconstruct"](folder, lambda *_: None, views, PLAIN, str(small_model.path))
    return json.loads(json.dumps(answer)) | {"folder": str(folder)}


@pytest.fixture
def unpacked(whole, films, tmp_path):
    """Unpacks a copy of it after a change."""

    def changed(change: Change) -> Any:
        folder = tmp_path / "made"
        shutil.copytree(whole["folder"], folder)
        answer = json.loads(json.dumps(whole).replace(whole["folder"], str(folder)))
        change(answer)
        xrays = xrays_of([{"file": str(films / "frontal.dcm")}], "chest")
        with reading("S", "answer"):
            return unpack_reconstruction(copy.deepcopy(answer), folder, xrays, HOW, "S")

    return changed


def array(*way: Any, to: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Changes the array there."""

    def change(answer: Answer) -> None:
        path = answer
        for name in way:
            path = path[name]
        np.save(str(path), to(np.load(str(path))), allow_pickle=True)

    return change


def text(*way: Any, to: Any) -> Change:
    """Changes what is said there."""

    def change(answer: Answer) -> None:
        for name in way[:-1]:
            answer = answer[name]
        answer[way[-1]] = to

    return change


def archive(answer: Answer) -> None:
    """In place of an array."""
    with Path(answer["volume"]["array"]).open("wb") as file:
        np.savez(file, np.zeros(3))


def test_what_was_packed_is_unpacked(unpacked, whole) -> None:
    made = unpacked(lambda _: None)
    assert made.volume.hu.dtype == np.float32
    assert made.spread is not None
    assert made.measures == whole["measures"]
    assert made.warnings == tuple(whole["warnings"])
    assert len(made.residuals) == len(made.views) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (array("volume", "array", to=lambda hu: hu[:0]), "volume: 0 x 16 x 16 voxels"),  # ITK's end is the process's
        (array("volume", "array", to=lambda hu: np.full(hu.shape, np.nan)), "volume: expected whole numbers"),
        (array("volume", "array", to=lambda hu: hu[0]), "volume: expected an array of numbers with 3 axes"),
        (array("volume", "array", to=lambda hu: hu.astype(object)), "volume: truncated or damaged array"),
        (archive, "volume: expected an array, found NpzFile"),
        (array("coverage", "array", to=lambda hu: hu[:4]), "coverage: lies on other voxels"),
        (text("coverage", "origin_mm", to=[1, 2, 3]), "coverage: lies on other voxels"),
        (text("spread", to=None), "expected coverage, spread, volume, found coverage, volume"),
        (text("volume", "array", to="mine.npy"), "volume: names a file that was not received"),
        (text("reprojections", 0, "input", to="/etc/passwd"), "input: names a file that was not received"),
        (text("volume", "array", to=0), "volume.array: expected str"),
        (text("volume", "spacing_mm", to=[0, 1, 1]), "voxel spacing along x is 0 mm"),
        (text("volume", "direction", to=[[0] * 3] * 3), "orientation matrix is not orthonormal"),
        (array("reprojections", 0, "input", to=lambda image: image[:3]), "an X-ray and its reprojection"),
        (text("residuals", 0, "rmse", to="x"), "residuals.rmse: expected float"),
        (text("residuals", 0, "correlation", to=5.0), "no rmse and correlation"),
        (text("warnings", to="hello"), "warnings: expected texts"),
        (text("provenance", "views", to=[]), "views: expected 1, found"),
        (text("provenance", "seed", to=4), "seed: expected 3, found 4"),
        (text("provenance", "product", to="mean"), "product: expected 'ensemble', found 'mean'"),
        (text("provenance", "model", to={}), "provenance: expected texts"),
        (text("measures", to={}), "measures: expected those of this version"),
        (text("measures", to=None), "measures: expected those of this version"),
        (text("measures", "values", to=[]), "measures: expected those of this version"),
        (text("measures", "definition", to="0"), "measures: expected those of this version"),
        (text("residuals", to=[]), "S: truncated or damaged answer"),
        (text("provenance", to=[]), "S: truncated or damaged answer"),
    ],
)
def test_an_answer_that_is_none_to_what_was_asked_is_a_line(unpacked, change, problem) -> None:
    with pytest.raises(InputError, match=problem) as refused:
        unpacked(change)
    assert "\n" not in str(refused.value)
