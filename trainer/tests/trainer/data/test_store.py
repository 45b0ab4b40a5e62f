"""The store: what it refuses to open, and that it gives back what was written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clsdm.errors import InputError
from clsdm.files.digest import SEAL, sealed
from clsdm.volume.ct import Grid
from clsdm_trainer.data.manifest import MANIFEST, Case, write_manifest
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import sha256_of

GRID, MARGIN, SCAN_MM = Grid(4, 6.0), 1, 2.0
SPLIT_OF = {"a": "train", "b": "auxiliary", "c": "val", "d": "test"}


def write_case(folder: Path, name: str, split: str, patient: str | None = None) -> Case:
    hu = np.full((6, 6, 6), ord(name[0]), dtype=np.int16)
    path = folder / "volumes" / f"{name}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, hu)
    whole = folder / "scans" / f"{name}.npy"
    whole.parent.mkdir(parents=True, exist_ok=True)
    np.save(whole, np.full((9, 7, 8), -ord(name[0]), dtype=np.int16))
    return Case(
        id=name,
        patient=patient or f"patient-{name}",
        split=split,
        file=f"volumes/{name}.npy",
        sha256=sha256_of(path),
        source=f"{name}.nii.gz",
        source_sha256=name[0] * 64,
        centre_mm=(1.0, 2.0, 3.0),
        fov_fraction=0.5,
        scan=f"scans/{name}.npy",
        scan_sha256=sha256_of(whole),
        scan_origin_mm=(-7.0, -6.0, -8.0),
    )


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [write_case(tmp_path, name, split) for name, split in SPLIT_OF.items()]


@pytest.fixture
def store(tmp_path: Path, cases: list[Case]) -> Store:
    write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, cases)
    return Store.open(tmp_path)


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object], *, signed: bool = True) -> None:
    """Change the manifest's table in place, and sign it again."""
    table = json.loads((folder / MANIFEST).read_text())
    change(table)
    (folder / MANIFEST).write_text(json.dumps(sealed(table) if signed else table))


def test_a_store_gives_back_the_cases_grid_and_margin_it_was_written_with(store: Store, cases: list[Case]):
    assert list(store.all_cases) == cases
    assert (store.grid, store.margin, store.padded) == (GRID, MARGIN, Grid(6, 6.0))


def test_training_includes_the_auxiliary_cases_and_nothing_of_val_or_test(store: Store):
    assert [case.id for case in store.cases("train")] == ["a", "b"]
    assert [case.id for case in store.cases("val")] == ["c"]
    assert [case.id for case in store.cases("test")] == ["d"]
    assert [case.id for case in store.cases("auxiliary")] == ["b"]
    assert len(store.cases()) == 4


def test_a_stack_holds_the_volumes_of_a_split_in_the_order_of_its_cases(store: Store):
    stack = store.stack("train")
    assert stack.dtype == torch.int16
    assert stack.shape == (2, 6, 6, 6)
    assert stack[:, 0, 0, 0].tolist() == [ord("a"), ord("b")]


def test_a_volume_is_memory_mapped_and_cannot_be_written_to(store: Store):
    volume = store.volume(store.all_cases[0])
    assert isinstance(volume, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        volume[0, 0, 0] = 1


def test_the_scan_lies_where_the_cube_is_centred(store: Store):
    scanned = store.scanned(store.all_cases[0])
    assert scanned.hu.shape == (9, 7, 8)
    assert scanned.spacing_mm == (SCAN_MM,) * 3
    assert scanned.centre_mm == (0.0, 0.0, 0.0)
    assert scanned.hu[0, 0, 0] == -ord("a")


@pytest.mark.parametrize("folder", ["volumes", "scans"])
def test_a_changed_file_is_found(store: Store, folder: str):
    store.verify()
    path = store.folder / folder / "c.npy"
    hu = np.load(path)
    hu[0, 0, 0] += 1
    np.save(path, hu)
    with pytest.raises(InputError, match=f"{folder}/c.npy: changed since it was prepared"):
        store.verify()


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 16
    path.write_bytes(bytes(data))


def zeros(path: Path) -> None:
    np.save(path, np.zeros_like(np.load(path)))


def of_a_test_patient(path: Path) -> None:
    shutil.copyfile(path.with_name("d.npy"), path)


def no_array(path: Path) -> None:
    path.write_bytes(b"\x93NUMPY")


@pytest.mark.parametrize("damage", [one_bit, zeros, of_a_test_patient, no_array])
def test_a_file_that_is_not_what_was_prepared_is_never_given_out(store: Store, damage: Callable[[Path], None]):
    case = store.cases("train")[0]
    for name, read in ((case.file, store.volume), (case.scan, store.scan), (case.file, store.truth)):
        opened = Store.open(store.folder)
        whole = (store.folder / name).read_bytes()
        damage(store.folder / name)
        with pytest.raises(InputError, match=f"{name}: (changed since it was prepared|truncated or damaged)"):
            getattr(opened, read.__name__)(case)
        (store.folder / name).write_bytes(whole)


def test_verifying_some_splits_leaves_the_others_alone_and_says_how_far_it_is(store: Store):
    one_bit(store.folder / "volumes" / "d.npy")
    said: list[tuple[str, int, int]] = []
    store.verify("train", "val", report=lambda *words: said.append(words))
    assert said == [("check the store", done, 3) for done in (1, 2, 3)]
    with pytest.raises(InputError, match=r"d\.npy"):
        store.verify("test")


def test_the_manifest_does_not_depend_on_the_order_of_the_cases(tmp_path: Path, cases: list[Case]):
    write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, cases)
    first = (tmp_path / MANIFEST).read_bytes()
    write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, reversed(cases))
    assert (tmp_path / MANIFEST).read_bytes() == first


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize("training", ["train", "auxiliary"])
def test_a_patient_on_two_sides_is_refused_when_writing(tmp_path: Path, training: str, split: str):
    two = [write_case(tmp_path, "a", training, "p"), write_case(tmp_path, "b", split, "p")]
    with pytest.raises(InputError, match=f"patient 'p' is in two splits, train and {split}"):
        write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, two)
    assert not (tmp_path / MANIFEST).exists()


def test_one_patient_may_have_a_train_and_an_auxiliary_scan(tmp_path: Path):
    two = [write_case(tmp_path, "a", "train", "p"), write_case(tmp_path, "b", "auxiliary", "p")]
    write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, two)
    assert len(Store.open(tmp_path).cases("train")) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 1}, "schema is 1.*make the store again"),
        ({"window_hu": [-500.0, 2000.0]}, r"window_hu is \(-500.0, 2000.0\)"),
        ({"grid": {"size": 4, "margin": 1}}, "spacing_mm"),
        ({"grid": {"size": 0, "spacing_mm": 6.0, "margin": 1, "scan_spacing_mm": 2.0}}, "impossible grid"),
        ({"grid": {"size": 4, "spacing_mm": 6.0, "margin": 1, "scan_spacing_mm": 0.0}}, "impossible grid"),
        ({"cases": [{"id": "a"}]}, "patient"),
    ],
)
def test_a_manifest_of_another_schema_window_or_shape_is_refused(tmp_path, store, changes, message):
    edit_manifest(tmp_path, lambda table: table.update(changes))
    with pytest.raises(InputError, match=message):
        Store.open(tmp_path)


@pytest.mark.parametrize("file", ["../a.npy", "/tmp/a.npy", "C:/a.npy", "volumes\\a.npy"])
def test_a_volume_outside_the_store_is_refused_and_so_are_two_cases_of_one_id(tmp_path, cases: list[Case], file: str):
    with pytest.raises(InputError, match="points outside the store"):
        write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, [replace(cases[0], file=file)])
    with pytest.raises(InputError, match="'a' occurs twice"):
        write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, [cases[0], cases[0]])


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table["cases"][3].update(split="train"),  # a test case made one to train on
        lambda table: table.pop(SEAL),
        lambda table: table.update(schema=table["schema"] - 1) or table.pop(SEAL),
    ],
)
def test_a_manifest_that_was_altered_is_refused(tmp_path: Path, store: Store, change: Callable[..., object]):
    edit_manifest(tmp_path, change, signed=False)
    said = f"{MANIFEST}: (was altered|{SEAL} is missing|schema is 1).*clsdm-train prepare"
    with pytest.raises(InputError, match=said):
        Store.open(tmp_path)


def test_a_folder_that_is_not_a_store_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        Store.open(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        Store.open(tmp_path)


def test_a_missing_volume_is_noticed_when_opening(tmp_path: Path, store: Store):
    store.path(store.all_cases[1]).unlink()
    with pytest.raises(InputError, match=r"b\.npy: the manifest lists this volume"):
        Store.open(tmp_path)


def test_a_volume_of_another_size_or_type_is_refused(store: Store):
    case = store.all_cases[0]
    np.save(store.path(case), np.zeros((6, 6, 5), dtype=np.int16))
    with pytest.raises(InputError, match=r"expected int16 \(6, 6, 6\), found int16 \(6, 6, 5\)"):
        store.volume(case)
    np.save(store.path(case), np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: truncated or damaged volume"):
        store.volume(case)


def test_a_volume_whose_header_is_no_python_is_refused(store: Store):
    """Numpy lets the tokenizer's own exception through, which is no ValueError."""
    path = store.path(store.all_cases[0])
    data = path.read_bytes()
    path.write_bytes(data[:46] + b"(" * 40 + data[86:])
    with pytest.raises(InputError, match="TokenError while reading"):
        store.volume(store.all_cases[0])


def test_one_scan_under_two_names_on_two_sides_is_refused(tmp_path: Path):
    """The same file by its hash, or the same volume made from two files."""
    first, second = write_case(tmp_path, "a", "train"), write_case(tmp_path, "b", "test")
    with pytest.raises(InputError, match="scan of 'a' and 'b' is the same and is in two splits, train and test"):
        write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, [first, replace(second, source_sha256=first.source_sha256)])
    with pytest.raises(InputError, match="volume of 'a' and 'b' is the same and is in two splits, train and test"):
        write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, [first, replace(second, sha256=first.sha256)])
    write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, [first, replace(second, sha256=first.sha256, split="auxiliary")])


@pytest.mark.parametrize(
    "change",
    [{"repeats": -1}, {"repeats": 10**12}, {"scan_origin_mm": ["nan", 0, 0]}, {"centre_mm": [0, "inf", 0]},
     {"fov_fraction": -5}],
)  # fmt: skip
def test_a_number_of_a_case_that_cannot_be_is_refused(change: dict[str, Any], tmp_path: Path):
    write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, [write_case(tmp_path, "a", "train", "p")])
    edit_manifest(tmp_path, lambda table: table["cases"][0].update(change))
    with pytest.raises(InputError, match=rf"manifest\.json\.cases\[0\].*{next(iter(change))}"):
        Store.open(tmp_path)


def test_a_scan_of_a_test_patient_in_a_training_slot_is_refused(tmp_path: Path):
    cases = [write_case(tmp_path, "a", "train", "p"), write_case(tmp_path, "b", "test", "q")]
    write_manifest(tmp_path, GRID, MARGIN, SCAN_MM, cases)
    edit_manifest(
        tmp_path, lambda table: table["cases"][0].update({n: table["cases"][1][n] for n in ("scan", "scan_sha256")})
    )
    with pytest.raises(InputError, match=r"scanned volume of 'a' and 'b' is the same and is in two splits"):
        Store.open(tmp_path)
