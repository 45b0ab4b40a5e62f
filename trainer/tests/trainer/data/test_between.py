"""Patients deformed to the shapes of others: bodies whose shapes are known, from registration to a training sample."""

from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - its usual name
import torch
from tiny import tiny_config

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm.volume.write import write_ct
from clsdm_trainer.anatomy import Anatomy, warped
from clsdm_trainer.batches import Batch, TrainingData
from clsdm_trainer.cli import main
from clsdm_trainer.config import AugmentConfig
from clsdm_trainer.data.between import FOLDER, between, deform, deformations
from clsdm_trainer.data.prepare import PrepareConfig, prepare
from clsdm_trainer.data.source import SourceConfig
from clsdm_trainer.data.store import Store

SPACING_MM = 10.0
FIRST_MM = -15.5 * SPACING_MM


def chest(lung_mm: float, width_mm: float) -> np.ndarray:
    """(z, y, x) HU: a body with two lungs of half-height ``lung_mm``, and a heart at the left."""
    axis = np.arange(32) * SPACING_MM + FIRST_MM
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    hu = np.where((x / width_mm) ** 2 + (y / (0.65 * width_mm)) ** 2 < 1.0, 40.0, -1000.0)
    for side in (-1, 1):
        lung = ((x - side * 0.45 * width_mm) / 50) ** 2 + (y / 60) ** 2 + (z / lung_mm) ** 2 < 1.0
        hu[lung] = -800.0
    hu[((x - 25) / 40) ** 2 + (y / 40) ** 2 + ((z + 25) / 45) ** 2 < 1.0] = 60.0
    return hu


def image(hu: np.ndarray) -> sitk.Image:
    found = sitk.GetImageFromArray(np.clip(hu, -1000.0, 300.0))
    found.SetSpacing((SPACING_MM,) * 3)
    found.SetOrigin((FIRST_MM,) * 3)
    return found


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which two chests are drawn three times an epoch, and deformed to each other."""
    folder = tmp_path_factory.mktemp("few")
    shapes = {"small": (80.0, 125.0), "large": (92.0, 135.0), "val": (85.0, 130.0)}
    for name, shape in shapes.items():
        split = "train" if name != "val" else "val"
        path = folder / split / f"{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        write_ct(CTVolume(chest(*shape).astype(np.float32), (SPACING_MM,) * 3, (FIRST_MM,) * 3), path)
    sources = tuple(
        SourceConfig(kind="folder", root=folder / split, split=split, repeats=repeats)
        for split, repeats in (("train", 3), ("val", 1))
    )
    prepare(
        PrepareConfig(
            sources=sources,
            out=folder / "store",
            size=16,
            spacing_mm=24.0,
            margin=2,
            scan_spacing_mm=SPACING_MM,
            workers=1,
        )
    )
    return Store.open(folder / "store")


def test_a_patient_gets_lungs_as_large_as_those_of_another():
    small, large = image(chest(70.0, 120.0)), image(chest(100.0, 145.0))
    towards = between(small, large)
    assert towards is not None
    patient = Anatomy(torch.from_numpy(chest(70.0, 120.0)).float(), SPACING_MM, np.full(3, FIRST_MM))
    grown = warped(patient, towards).hu.numpy()
    volume = {name: float(((hu > -900.0) & (hu < -700.0)).sum()) for name, hu in
              {"small": chest(70.0, 120.0), "large": chest(100.0, 145.0), "grown": grown}.items()}  # fmt: skip
    assert volume["large"] / volume["small"] > 1.2
    assert volume["grown"] == pytest.approx(volume["large"], rel=0.05)


def test_another_part_of_the_body_is_no_shape_to_take():
    head = np.where(np.linalg.norm(np.indices((32, 32, 32)) - 15.5, axis=0) < 6.0, 40.0, -1000.0)
    assert between(image(chest(70.0, 120.0)), image(head)) is None


@pytest.mark.parametrize(("slices", "is_found"), [(12, False), (20, True)])
def test_what_shows_less_than_150_mm_of_the_same_is_not_deformed_to(slices: int, is_found: bool):
    small, large = image(chest(70.0, 120.0)), image(chest(80.0, 125.0))
    assert (between(small, large[:, :, 6 : 6 + slices]) is not None) == is_found


def test_the_command_deforms_scarce_patients_once_and_training_uses_it(few: Store, capsys: pytest.CaptureFixture[str]):
    def samples(share: float) -> Batch:
        augment = AugmentConfig(between_probability=share, exact_probability=1.0, shift_mm=0.0, flip_probability=0.0)
        return TrainingData(few, tiny_config().model, augment, 0, torch.device("cpu")).batch(0, 2, xrays=True)

    with pytest.raises(InputError, match="clsdm-train deform --store"):
        samples(1.0)
    assert main(["deform", "--store", str(few.folder), "--towards", "1", "--workers", "1"]) == 0
    assert "2 deformations between 2 patients" in capsys.readouterr().out
    files = {path: path.stat().st_mtime_ns for path in (few.folder / FOLDER).iterdir()}
    assert main(["deform", "--store", str(few.folder), "--workers", "1"]) == 0
    assert files == {path: path.stat().st_mtime_ns for path in (few.folder / FOLDER).iterdir()}

    (val,) = few.cases("val")
    assert len(deformations(few, val)) == 0
    assert torch.equal(samples(1.0).images, samples(1.0).images)
    assert not torch.equal(samples(1.0).unit, samples(0.0).unit)
    assert not torch.equal(samples(1.0).images, samples(0.0).images)

    damaged = min(files)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert main(["deform", "--store", str(few.folder)]) == 2
    assert "delete it, and call" in capsys.readouterr().err


def test_one_patient_has_nobody_to_be_deformed_to(few: Store):
    with pytest.raises(InputError, match="expected two patients or more"):
        deform(replace(few, all_cases=few.all_cases[:1]), 6)
