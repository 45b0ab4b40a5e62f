"""Identity: a patient or a scan is never on two sides of a split, whatever the files are called."""

from pathlib import Path

import numpy as np
import pytest

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm.volume.write import write_ct
from clsdm_trainer.cli import main
from clsdm_trainer.data.patients import several_scans
from clsdm_trainer.data.prepare import PrepareConfig, prepare
from clsdm_trainer.data.source import SourceConfig, scans_of
from clsdm_trainer.data.store import Store


def body(seed: int, suffix_mm: float = 0.0) -> CTVolume:
    """A block of tissue in air whose voxels depend on ``seed``."""
    hu = np.full((12, 12, 12), -1000.0, dtype=np.float32)
    hu[2:10, 2:10, 2:10] = np.random.default_rng(seed).integers(-50, 60, (8, 8, 8))
    return CTVolume(hu, (20.0, 20.0, 20.0), (suffix_mm, 0.0, 0.0))


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ([f"pt{i}_{end}" for i in range(1, 9) for end in "ab"], 8),
        (["anna_1", "anna_2", "berta_1", "berta_2"], 2),
        (["p1_before", "p1_after", "p2_before"], 1),
        (["sub-01__ses-1__ct", "sub-01__ses-2__ct", "sub-02__ses-1__ct"], 1),
        (["LIDC-IDRI-0001.2000.1", "LIDC-IDRI-0001.2001.3", "LIDC-IDRI-0002.2000.1"], 1),
        ([f"liver_{i}" for i in range(131)], 0),
        ([f"pt_{i}" for i in range(200)], 0),
        ([f"lung1_{i:03d}" for i in range(1, 400)], 0),
        ([f"1.3.6.1.4.1.9328.50.4.{i:04d}" for i in range(30)], 0),
        (["lidc_0002", "lidc_0004", "acrin_flt_breast_001", "acrin_flt_breast_013", "cptac_lscc_c3n_00247"], 0),
    ],
)
def test_names_of_several_scans_are_told_from_numbered_patients(names, groups):
    assert len(several_scans(names)) == groups


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    for i in range(1, 9):
        for at, end in enumerate("ab"):
            write_ct(body(10 * i + at), tmp_path / "in" / f"pt{i}_{end}.nii.gz")
    return tmp_path / "in"


def test_what_looks_like_two_scans_of_a_patient_is_refused_until_it_is_said_who_is_who(pairs: Path):
    source = SourceConfig(kind="folder", root=pairs)
    with pytest.raises(InputError, match=r"'pt1_a' and 'pt1_b' look like scans of one patient \(8 such") as caught:
        scans_of(source)
    assert all(way in str(caught.value) for way in ("patient_pattern", "--one-scan-per-patient"))
    placed, _ = scans_of(source.model_copy(update={"patient_pattern": r"^([^_]+)"}))
    assert len({(scan.patient, split) for scan, split in placed}) == len({scan.patient for scan, _ in placed}) == 8
    placed, _ = scans_of(source.model_copy(update={"one_scan_per_patient": True}))
    assert len({scan.patient for scan, _ in placed}) == 16
    assert scans_of(source.model_copy(update={"split": "train"}))


def test_a_split_file_that_divides_such_a_pair_is_refused(pairs: Path):
    listed = '{"train": ["pt1_a", "pt2_a", "pt2_b"], "test": ["pt1_b"]}'
    (pairs / "splits.json").write_text(listed)
    with pytest.raises(InputError, match=r"'pt1_a' and 'pt1_b'.*\(1 such"):
        scans_of(SourceConfig(kind="folder", root=pairs))


def test_the_command_line_takes_the_users_word(pairs: Path, tmp_path: Path, capsys):
    arguments = ["prepare", "--source", f"folder:{pairs}", "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main(arguments) == 2
    assert "--one-scan-per-patient" in capsys.readouterr().err
    assert main([*arguments, "--one-scan-per-patient"]) == 0
    assert len(Store.open(tmp_path / "out").all_cases) == 16


def splits_of(root: Path, train: str, test: str) -> PrepareConfig:
    (root / "splits.json").write_text(f'{{"train": ["{train}"], "test": ["{test}"]}}')
    source = SourceConfig(kind="folder", root=root)
    return PrepareConfig(sources=(source,), out=root / "out", size=8, spacing_mm=30, margin=0, workers=1)


def test_the_same_file_under_two_names_is_not_split(tmp_path: Path):
    for name in ("red", "blue"):
        write_ct(body(1), tmp_path / f"{name}.nii.gz")
    config = splits_of(tmp_path, "red", "blue")
    with pytest.raises(InputError, match=r"red\.nii\.gz: the same scan as blue\.nii\.gz|blue.*the same scan as red"):
        prepare(config)
    assert not (tmp_path / "out").exists()


def test_the_same_voxels_in_two_formats_are_not_split(tmp_path: Path):
    write_ct(body(1), tmp_path / "red.nii.gz")
    write_ct(body(1), tmp_path / "blue.nrrd")
    with pytest.raises(InputError, match="volume of 'blue' and 'red' is the same and is in two splits, test and train"):
        prepare(splits_of(tmp_path, "red", "blue"))
