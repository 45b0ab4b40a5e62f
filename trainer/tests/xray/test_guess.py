"""Which of two pictures is the frontal one: on real radiographs, by their pixels alone and by their names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clsdm.xray.guess import frontal_of, mirror_likeness, pair_of
from clsdm.xray.read import inspect_xray


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    return [
        (path, next(folder.glob(f"{path.stem.split('_')[0]}_lateral.*"))) for path in sorted(folder.glob("*_frontal.*"))
    ]


def test_the_images_of_real_pairs_tell_which_is_frontal(shared_data: Path, tmp_path: Path) -> None:
    pairs = _pairs(shared_data / "xray")
    assert len(pairs) == 6
    for frontal, lateral in pairs:
        named = [tmp_path / f"IMG_{number}{path.suffix}" for number, path in enumerate((frontal, lateral))]
        for path, name in zip((frontal, lateral), named, strict=True):
            name.write_bytes(path.read_bytes())
        assert frontal_of(*named) == 0, frontal.name
        assert frontal_of(*named[::-1]) == 1, frontal.name


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("doe_pa.png", "doe_lat.png"), (0, 1)),
        (("thorax-lateral.png", "thorax-pa.png"), (1, 0)),
        (("left lateral.png",), (None, 0)),
        (("picture.png",), (0, None)),
        (("a_pa.png", "b.png", "c_lat.png"), (0, 2)),
        (("a.png", "b.png", "c.png"), (None, None)),
    ],
)
def test_names_decide_where_they_tell(tmp_path: Path, names: tuple[str, ...], expected: tuple[int | None, ...]) -> None:
    pixels = np.arange(80 * 90, dtype=np.uint16).reshape(80, 90) % 251
    paths = [tmp_path / name for name in names]
    for path in paths:
        Image.fromarray(pixels.astype(np.uint8)).save(path)
    assert pair_of([inspect_xray(path) for path in paths], paths) == expected


def test_of_images_that_are_alike_the_wider_is_the_frontal_one(tmp_path: Path) -> None:
    for name, cols in (("narrow", 70), ("wide", 120)):
        Image.fromarray(np.tile(np.arange(110, dtype=np.uint8)[:, None], (1, cols))).save(tmp_path / f"{name}.png")
    assert frontal_of(tmp_path / "narrow.png", tmp_path / "wide.png") == 1


def test_a_mirror_image_is_recognised_also_beside_the_middle() -> None:
    columns = np.abs(np.arange(100) - 46)
    assert mirror_likeness(np.tile(columns, (80, 1))) > 0.99
    assert mirror_likeness(np.tile(np.arange(100), (80, 1))) < 0.0
