"""Numbers of a bundle on scans: structures that were made up, and the two commands from end to end."""

import argparse
import json
import re
from pathlib import Path

import numpy as np
import pytest
from small_bundle import FINER, edited, random_weights, small_bundle, small_phantom

from clsdm.model.bundle import Bundle, patient_mark
from clsdm.progress import silent
from clsdm.quality.quantities import QUANTITIES
from clsdm.volume.write import write_ct
from clsdm_bench.cli import main
from clsdm_bench.numbers import run
from clsdm_bench.numbers.run import usable
from clsdm_bench.numbers.structures import Structures, count_structures
from clsdm_bench.pages import marks
from clsdm_bench.score.cases import find_scans
from clsdm_bench.score.run import Scoring, Settings

SPACING_MM = 6.0


def scans_in(folder: Path, **splits: list[str]) -> None:
    """A folder of phantoms s0, s1, ... that lie apart, with their splits."""
    folder.mkdir()
    for number in range(sum(map(len, splits.values()))):
        write_ct(small_phantom((10.0 * number, 0.0, 0.0)), folder / f"s{number}.nii.gz")
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")


def with_ball(ml: float, hu: float, at: tuple[int, int, int] = (20, 20, 20)) -> np.ndarray:
    """Water with a ball of another density."""
    z, y, x = np.indices((40, 40, 40))
    radius = (3.0 * ml * 1000.0 / (4.0 * np.pi)) ** (1 / 3) / SPACING_MM
    off = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2
    return np.where(off < radius**2, hu, 0.0)


@pytest.mark.parametrize(
    ("mine", "theirs", "expected"),
    [
        ((20.0, 600.0), (0.0, 0.0), Structures(1, 1, 0, 0)),
        ((0.0, 0.0), (20.0, -600.0), Structures(0, 0, 1, 1)),
        ((20.0, 600.0), (20.0, 500.0), Structures(1, 0, 1, 0)),
        ((20.0, 600.0), (20.0, -600.0), Structures(1, 1, 1, 1)),
        ((3.0, 600.0), (0.0, 0.0), Structures(0, 0, 0, 0)),
        ((20.0, 80.0), (0.0, 0.0), Structures(0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_a_structure_of_one_volume_alone_is_made_up_or_lost(mine, theirs, expected) -> None:
    body = np.ones((40, 40, 40), dtype=bool)
    assert count_structures(with_ball(*mine), with_ball(*theirs), body, SPACING_MM) == expected


@pytest.mark.parametrize("splits", [("train", "val"), ("val",), ("train",)])
def test_patients_that_a_model_was_selected_on_calibrate_it_and_those_it_was_trained_on_do_not(
    splits, tmp_path
) -> None:
    for name in ("old", "new", "selected"):
        (tmp_path / f"{name}.nii.gz").touch()
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["old", "new"], "val": ["selected"]}), encoding="utf-8")
    scans = find_scans([str(tmp_path)], splits, [patient_mark(name) for name in ("old", "selected")])
    expected = {"train": {"new"}, "val": {"selected"}}
    assert {scan.name for scan in usable(scans)} == set().union(*(expected[split] for split in splits))


def test_a_patient_of_val_that_a_model_was_trained_on_does_not_calibrate_it(tmp_path) -> None:
    for name in ("chosen", "moved"):
        (tmp_path / f"{name}.nii.gz").touch()
    (tmp_path / "splits.json").write_text(json.dumps({"val": ["chosen", "moved"]}), encoding="utf-8")
    both, chosen = [patient_mark("chosen"), patient_mark("moved")], [patient_mark("chosen")]
    assert [scan.name for scan in usable(find_scans([str(tmp_path)], ["val"], both, chosen))] == ["chosen"]


def test_patients_of_the_training_are_judged_by_a_fold_that_was_trained_without_them(tmp_path, capsys) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    scans_in(folder, train=["s0", "s1"], val=["s2"])
    chosen = [patient_mark("s2")]

    def trained_on(name: str, seed: int, *patients: str) -> Bundle:
        seen = [*map(patient_mark, patients), *chosen]
        plain = small_bundle(tmp_path / f"plain {name}", weights=random_weights(seed=seed))
        return Bundle.open(edited(plain, tmp_path / name, trained_patients=seen, selected_patients=chosen))

    whole = trained_on("whole", 1, "s0", "s1")
    folds = [trained_on("fold0", 2, "s0"), trained_on("fold1", 3, "s1")]
    call = f"--bundle {whole.path} --cases {folder} --products mean --conditions plain --device cpu --out {out}"
    made = tmp_path / "made"
    told = ["--write", str(made), "--folds", *(str(fold.path) for fold in folds)]
    assert main(["calibrate", *call.split(), *told]) == 0
    assert "errors of 3 patients" in capsys.readouterr().out
    judged = {
        name: {path.stem for path in (place / "numbers").glob("*.json")}
        for name, place in {"whole": out, **{f.path.name: out / f"fold-{f.hash:.8}" for f in folds}}.items()
    }
    assert judged == {"whole": {"s2"}, "fold0": {"s1"}, "fold1": {"s0"}}
    table = Bundle.open(made).calibration
    assert table["patients"] == sorted(patient_mark(name) for name in ("s0", "s1", "s2"))
    assert table["command"].endswith("--folds FOLD FOLD")
    assert main(["numbers", *call.split(), "--split", "train", "val", "--cross", *told[2:]]) == 0
    assert {each["case"] for each in json.loads((out / "numbers.json").read_text(encoding="utf-8"))} == {
        "s0",
        "s1",
        "s2",
    }
    capsys.readouterr()
    assert main(["numbers", *call.split(), "--split", "val", *told[2:]]) == 2
    assert "--folds: expected with --cross alone" in capsys.readouterr().err
    other = small_bundle(tmp_path / "other", FINER)
    assert main(["calibrate", *call.split(), "--write", str(made), "--folds", str(other.path)]) == 2
    assert f"--folds {other.path}: expected the networks of {whole.path}" in capsys.readouterr().err


def test_what_is_no_fold_of_a_bundle_or_has_nobody_to_judge_is_refused_before_anything_is_made(
    tmp_path, capsys
) -> None:
    folder, out = tmp_path / "scans", tmp_path / "out"
    folder.mkdir()
    for number in range(2):
        write_ct(small_phantom(), folder / f"s{number}.nii.gz")

    def trained_on(name: str, seed: int, *patients: str) -> Path:
        plain = small_bundle(tmp_path / f"plain {name}", weights=random_weights(seed=seed))
        return edited(plain, tmp_path / name, trained_patients=[*map(patient_mark, patients)])

    whole, fold = trained_on("whole", 1, "s0", "s1"), trained_on("fold", 2, "s1")
    call = [
        "numbers",
        "--cross",
        "--bundle",
        str(whole),
        "--cases",
        str(folder),
        "--products",
        "mean",
        "--device",
        "cpu",
    ]
    call += ["--conditions", "plain", "--out", str(out), "--folds", str(fold)]
    for wrong, problem in (
        (whole, f"has the weights of {whole}"),
        (fold, f"has the weights of {fold}"),
        (trained_on("all", 3, "s0", "s1"), "was trained on each of --cases that the bundle and the folds before"),
        (trained_on("none", 4), "does not say which patients it was trained on"),
        (trained_on("other", 5, "t0"), "was trained on none of the patients of"),
    ):
        assert main([*call, str(wrong)]) == 2
        assert f"--folds {wrong}: {problem}" in capsys.readouterr().err
        assert not list(out.glob("fold-*"))


def test_who_is_val_of_the_scans_may_be_of_the_training_of_a_fold_that_names_no_val(tmp_path) -> None:
    for number in range(3):
        write_ct(small_phantom(), tmp_path / f"s{number}.nii.gz")
    (tmp_path / "splits.json").write_text(json.dumps({"train": ["s0", "s1"], "val": ["s2"]}), encoding="utf-8")

    def trained_on(name: str, seed: int, *patients: str, selected: tuple[str, ...] = ()) -> Bundle:
        plain = small_bundle(tmp_path / f"plain {name}", weights=random_weights(seed=seed))
        marks = {
            "trained_patients": [*map(patient_mark, patients)],
            "selected_patients": [*map(patient_mark, selected)],
        }
        return Bundle.open(edited(plain, tmp_path / name, **marks))

    whole = trained_on("whole", 1, "s0", "s1", "s2", "t", selected=("t",))
    fold = trained_on("fold", 2, "s1", "s2")
    options = argparse.Namespace(cases=[str(tmp_path)], split=["train", "val"], folds=[fold.path])
    scans = find_scans(options.cases, options.split)
    judges = run.judges_of(Scoring(whole, scans, tmp_path / "out", Settings()), options)
    assert {judge.bundle.hash: [scan.name for scan in judge.scans] for judge in judges} == {fold.hash: ["s0"]}


def test_what_an_autoencoder_was_trained_on_scatters_through_that_of_its_fold(monkeypatch) -> None:
    monkeypatch.setattr(
        run, "scatter_of", lambda bundle, scans, _: {"cube": {each: {"lung": bundle} for each in scans}}
    )
    judges = [Scoring("whole", ["s2"], Path(), Settings()), Scoring("fold", ["s0", "s1"], Path(), Settings())]
    found = run._scatter(judges, silent)
    assert {scan: each["lung"] for scan, each in found["cube"].items()} == {"s2": "whole", "s0": "fold", "s1": "fold"}


def test_of_patients_it_was_trained_on_a_table_holds_the_x_rays_and_no_errors(
    small_model, tmp_path, monkeypatch
) -> None:
    folder, bundle = tmp_path / "scans", tmp_path / "bundle"
    scans_in(folder, train=["s0"], val=["s1"])
    monkeypatch.setattr(
        "clsdm_bench.numbers.run.find_scans",
        lambda cases, splits, *seen: find_scans(cases, splits, [*seen[0], patient_mark("s0")]),
    )
    call = f"calibrate --bundle {small_model.path} --cases {folder} --products mean --conditions plain --device cpu"
    assert main([*call.split(), "--out", str(tmp_path / "out"), "--write", str(bundle)]) == 0
    table = Bundle.open(bundle).calibration
    assert table["patients"] == [patient_mark("s1")]
    assert table["usual"]["patients"] == 2


def test_a_bundle_gets_its_table_and_is_measured_with_it(
    small_model: Bundle, tmp_path: Path, capsys, monkeypatch
) -> None:
    folder, out, bundle = tmp_path / "scans", tmp_path / "out", tmp_path / "bundle"
    scans_in(folder, val=["s0", "s1"], test=["s2"])
    common = f"--cases {folder} --products mean --conditions plain --out {out} --device cpu".split()
    code = main(["calibrate", "--bundle", str(small_model.path), *common, "--split", "val", "--write", str(bundle)])
    assert code == 0
    assert "errors of 2 patients" in capsys.readouterr().out
    table = Bundle.open(bundle).calibration
    assert table["usual"]["patients"] == 2
    assert "--split val" in table["command"]
    more = [*common[:2], "--products", "sample", *common[4:]]
    assert main(["calibrate", "--bundle", str(bundle), *more, "--split", "val", "--write", str(bundle)]) == 0
    both = Bundle.open(bundle).calibration
    assert (both["numbers"]["mean"], both["usual"]) == (table["numbers"]["mean"], table["usual"])
    assert "sample" in both["numbers"]
    capsys.readouterr()
    page = tmp_path / "numbers.md"
    names = ("errors", "coverage", "structures", "fixed", "steady")
    page.write_text("a word\n" + "\n".join("\n".join(marks(f"numbers-{name}")) for name in names), encoding="utf-8")
    told = ["--pictures", "--steady", "--publish", str(page)]
    assert main(["numbers", "--bundle", str(bundle), *common, *told]) == 0
    written = page.read_text(encoding="utf-8")
    assert written.startswith("a word\n")
    assert written.count("--cases scans --split test --products mean --conditions plain --steady --pictures") == len(
        names
    )
    shares = re.findall(r"\| (?:s2|mean) \| (\d+)% \|", written)
    assert len(shares) == 2
    assert len(set(shares)) == 1
    moved, cube = re.findall(r"(\d+\.\d), \d+\.\d cm² \(1\)", written)
    assert 0.0 < float(moved) < float(cube)
    assert (out / "fixed" / "s2.png").read_bytes()[1:4] == b"PNG"
    text = (out / "numbers.md").read_text(encoding="utf-8")
    assert text == capsys.readouterr().out
    assert main(["numbers", "--bundle", str(bundle), *common, "--publish", str(out / "numbers.md")]) == 2
    assert "expected marks around a table, <!-- numbers-errors:begin --> and" in capsys.readouterr().err
    assert all(quantity.label in text for quantity in QUANTITIES.values())
    (found,) = json.loads((out / "numbers.json").read_text(encoding="utf-8"))
    assert found["case"] == "s2"
    own = ["--bundle", str(bundle), *common, "--split", "val"]
    assert table["patients"] == sorted(patient_mark(name) for name in ("s0", "s1"))
    assert main(["numbers", *own]) == 2
    assert "does not rest on, found 2 that it does (s0, s1)" in capsys.readouterr().err
    assert main(["numbers", *own, "--cross"]) == 0
    files = {file.name: file.stat().st_mtime_ns for file in (out / "numbers").iterdir()}
    monkeypatch.setattr("clsdm_bench.numbers.collect.DEFINITION", 0)
    assert main(["numbers", *own, "--cross"]) == 0
    again = {file.name: file.stat().st_mtime_ns for file in (out / "numbers").iterdir()}
    assert {name for name in files if files[name] != again[name]} == {"s0.json", "s1.json"}
    assert main(["numbers", "--bundle", str(small_model.path), *common]) == 2
    assert "calibration.json: is missing" in capsys.readouterr().err
    settings = out / "settings.json"
    settings.write_text(settings.read_text(encoding="utf-8").replace(small_model.hash, "0" * 64), encoding="utf-8")
    assert main(["calibrate", "--bundle", str(bundle), *common, "--split", "val", "--write", str(bundle)]) == 2
    assert "begun with another model" in capsys.readouterr().err
