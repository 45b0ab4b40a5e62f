"""The benchmark from end to end on the smallest table: trained in slices, judged once, refused where it must be."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from ct_series import write_series
from places import REPOSITORY
from tiny import STAGE, one_thread, tiny_config, tiny_store
from tiny_systems import EXACT, SMALL

from clsdm.errors import InputError
from clsdm.model.bundle import Manifest, patient_mark, write_bundle
from clsdm.reconstruct import Options, reconstruct
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import WINDOW_HU
from clsdm_bench.command import fitting_source
from clsdm_bench.costs import Costs
from clsdm_bench.evaluate import Outcome, load_patients, scored
from clsdm_bench.figures import best_baseline, by_case, judge_claim
from clsdm_bench.readme import BEGIN, END, comparison, write_readme
from clsdm_bench.records import RowResult, read_row, write_row
from clsdm_bench.report import hardware_sentence
from clsdm_bench.resolve import Budget, budget_of, budget_of_minutes
from clsdm_bench.rows import Evaluation, volumes_path
from clsdm_bench.systems.reconstructors import Latent, load_latent
from clsdm_bench.table import Claim, load_table
from clsdm_bench.training import open_trained
from clsdm_trainer.cli import main
from clsdm_trainer.data.source import SourceConfig, scans_of
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import Runner
from clsdm_trainer.recipe import save_config

__all__ = ["one_thread"]
pytestmark = pytest.mark.usefixtures("one_thread")

SPLIT = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "test", "f": "test", "g": "test"}
STAGES_STEPS = 3


def written_table(folder: Path) -> Path:
    """The tiny recipe, and a table of two latent runs, a baseline and rows without training."""
    save_config(tiny_config(steps=STAGES_STEPS), folder / "recipe.yaml")
    stage = {**STAGE, "steps": STAGES_STEPS}
    table = {
        "preset": str(folder / "recipe.yaml"),
        "pictures": 2,
        "seeds": [0, 1],
        "runs": {
            "ours": {},
            "ldm": {
                "stages": ["autoencoder", "joint"],
                "share": {"autoencoder": "ours"},
                "changes": {"joint": stage, "model": {"process": {"kind": "ddpm", "steps": 2}}},
            },
            "cnn": {
                "stages": ["baseline"],
                "reduced": "very much",
                "changes": {"augment": EXACT, "baseline": {**stage, "network": SMALL.model_dump(mode="json")}},
            },
        },
        "rows": {
            "mean": {"label": "the mean", "group": "ours", "run": "ours"},
            "sample": {"label": "a sample", "group": "ours", "run": "ours", "product": "sample"},
            "one": {"label": "one view", "group": "ablation", "run": "ours", "angles_deg": [90.0]},
            "ldm": {"label": "an LDM", "group": "baseline", "run": "ldm", "product": "sample", "steps": 3},
            "cnn": {"label": "a CNN", "group": "baseline", "run": "cnn", "product": "voxels"},
            "fdk": {"label": "FDK", "group": "classical", "method": "fdk"},
            "ceiling": {"label": "round trip", "group": "sanity", "run": "ours", "method": "round-trip"},
            "shuffled": {"label": "shuffled", "group": "sanity", "run": "ours", "method": "shuffled"},
            "population": {"label": "population mean", "group": "sanity", "method": "population-mean"},
            "nearest": {"label": "nearest", "group": "sanity", "method": "nearest-patient"},
        },
        "claims": [{"row": "mean", "than": "best-baseline", "figure": "honest.psnr_3d_db", "text": "ours wins"}],
        "tried": ["We tried twice."],
        "published": [{"label": "elsewhere", "psnr": 26.75, "ssim": 0.647, "source": "a paper"}],
    }
    path = folder / "table.yaml"
    path.write_text(yaml.safe_dump(table, sort_keys=False), encoding="utf-8")
    return path


def command(folder: Path, *more: str) -> list[str]:
    base = ["benchmark", "--preset", str(folder / "table.yaml"), "--store", str(folder / "store")]
    return [*base, "--out", str(folder / "out"), "--device", "cpu", *more]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished benchmark that was cut twice on its way."""
    folder = tmp_path_factory.mktemp("benchmark")
    tiny_store(folder / "store", SPLIT)
    written_table(folder)
    assert main(command(folder, "--minutes", "0")) == 3
    assert main(command(folder, "--only", "cnn", "fdk")) == 0
    first = (folder / "out" / "RESULTS.md").read_text(encoding="utf-8")
    assert "Not there yet: `mean`" in first
    assert main(command(folder)) == 0
    return folder


def test_every_row_stands_on_the_page_with_its_command(done: Path) -> None:
    page = (done / "out" / "RESULTS.md").read_text(encoding="utf-8")
    table = load_table(str(done / "table.yaml"))
    for name, row in table.rows.items():
        assert f"| {row.label} |" in page
        assert f"--out OUT --only {name}`" in page
    assert "Not there yet" not in page
    assert "ours wins" in page
    assert "- We tried twice.\n" in page
    assert "very much" in page
    assert "Hardware: CPU" in page
    for link in re.findall(r"\]\((.*?)\)", page):
        assert (done / "out" / link).stat().st_size > 1000, link
    assert "![mean](results/mean.png)" in page
    assert "![Latents of ours on the judged patients](results/latents-ours.png)" in page


def test_every_patient_has_a_line_for_each_row_and_seed(done: Path) -> None:
    lines = [line for path in (done / "out" / "results").glob("*.csv") for line in csv.DictReader(path.open())]
    assert len(lines) == 3 * (8 + 2 * 2), "eight deterministic rows, two with two seeds"
    samples = {(line["case"], line["seed"]): line["honest.psnr_3d_db"] for line in lines if line["method"] == "sample"}
    assert len(set(samples.values())) == len(samples) == 6
    for line in lines:
        assert float(line["reprojection_rmse"]) >= 0.0
        assert float(line["reprojection_held_out_rmse"]) > 0.0


def test_methods_are_judged_on_the_same_patients_and_shuffling_changes_the_result(done: Path) -> None:
    rows = {name: read_row(done / "out" / "results", name) for name in ("mean", "shuffled", "cnn")}
    assert len({tuple(sorted(by_case(row, "honest.mae_hu"))) for row in rows.values()}) == 1
    assert by_case(rows["mean"], "honest.mae_hu") != by_case(rows["shuffled"], "honest.mae_hu")
    mean, shuffled = (np.load(volumes_path(done / "out", name)) for name in ("mean", "shuffled"))
    assert np.array_equal(shuffled[0], mean[1]), "the first patient gets what the second one's X-rays show"


def test_distances_are_compared_patient_by_patient(done: Path) -> None:
    table = load_table(str(done / "table.yaml"))
    results = {name: read_row(done / "out" / "results", name) for name in ("sample", "cnn")}
    claim = Claim(row="sample", than="cnn", figure="swd.detail_hu", lower_is_better=True, text="")
    verdict = judge_claim(claim, table, results)
    shares = [by_case(results[name], "swd.detail_hu") for name in ("sample", "cnn")]
    difference = np.mean([shares[0][case] - shares[1][case] for case in shares[0]])
    assert verdict.test.difference.mean == pytest.approx(difference)
    assert " against " in verdict.found


def test_the_costs_are_those_of_the_stages(done: Path) -> None:
    cost = read_row(done / "out" / "results", "mean").cost
    assert cost["samples"] == 3 * STAGES_STEPS * 2
    assert read_row(done / "out" / "results", "ldm").cost["samples"] == cost["samples"]
    assert read_row(done / "out" / "results", "cnn").cost["samples"] == cost["samples"]
    assert read_row(done / "out" / "results", "fdk").cost is None


def test_called_again_it_trains_and_judges_nothing(done: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in (done / "out").rglob("*") if path.suffix in (".npy", ".safetensors")
    }
    assert len(before) > 10
    assert main(command(done)) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_training_that_stopped_stops_the_whole_command(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("clsdm_bench.command.train_missing", lambda *a, **k: asked.append(a) or False)
    assert main(command(done, "--only", "mean", "cnn", "fdk")) == 3
    assert len(asked) == 1, "the other rows are not begun after a signal"


def test_a_row_is_judged_anew_when_its_weights_are_others(done: Path) -> None:
    folder = done / "out" / "results"
    row = read_row(folder, "cnn")
    write_row(folder, replace(row, key={**row.key, "weights": "others"}, outcomes=()))
    assert main(command(done, "--only", "cnn")) == 0
    assert len(read_row(folder, "cnn").outcomes) == 3


def test_a_run_that_knows_a_test_patient_is_not_judged(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = done / "out" / "runs" / "cnn" / "patients.json"
    kept = path.read_text(encoding="utf-8")
    path.write_text(json.dumps(sorted([*json.loads(kept), patient_mark("patient-e")])), encoding="utf-8")
    try:
        assert main(command(done, "--only", "cnn")) == 2
        assert "other patients" in capsys.readouterr().err
        table = load_table(str(done / "table.yaml"))
        run = open_trained(table, "cnn", budget_of(table, None), done / "out")
        with pytest.raises(InputError, match=r"trained on 1 .*\(e"):
            Evaluation(table, Store.open(done / "store"), done / "out", "cpu", budget_of(table, None)).judged(
                "cnn", run
            )
    finally:
        path.write_text(kept, encoding="utf-8")


def test_a_store_that_moves_a_training_patient_to_the_test_is_refused(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_store(tmp_path / "store", {**SPLIT, "a": "test"})
    arguments = command(done, "--only", "cnn")
    arguments[arguments.index("--store") + 1] = str(tmp_path / "store")
    assert main(arguments) == 2
    assert "other patients" in capsys.readouterr().err


def test_a_result_is_read_back_as_it_was_kept(done: Path, tmp_path: Path) -> None:
    row = read_row(done / "out" / "results", "mean")
    undefined = replace(row.outcomes[0], figures={**row.outcomes[0].figures, "honest.mae_bone_hu": None})
    write_row(tmp_path, replace(row, outcomes=(undefined, *row.outcomes[1:])))
    back = read_row(tmp_path, "mean")
    assert back.outcomes[1:] == row.outcomes[1:]
    assert "honest.mae_bone_hu" not in back.outcomes[0].figures
    assert replace(back, outcomes=row.outcomes) == row
    (tmp_path / "mean.csv").unlink()
    with pytest.raises(InputError, match=r"mean\.json: expected a row"):
        read_row(tmp_path, "mean")


def test_costs_are_measured_once_and_anew_where_that_is_asked_for(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(done, tmp_path / "copy")
    out = tmp_path / "copy" / "out"
    again = [*command(done), "--out", str(out)]
    before = {name: read_row(out / "results", name) for name in load_table(str(done / "table.yaml")).rows}
    assert all(row.measured["case_seconds"] > 0.0 for row in before.values())
    trained = {name: row.measured["training_minutes"] for name, row in before.items()}
    assert all((trained[name] is not None) == (row.cost is not None) for name, row in before.items())
    assert trained["mean"] == trained["sample"] > trained["ceiling"] > 0.0, "a round trip has the autoencoder's alone"
    shutil.rmtree(out / "runs")  # it takes no weights
    older = json.loads((out / "results" / "cnn.json").read_text(encoding="utf-8"))
    del older["measured"]  # as records were before
    (out / "results" / "cnn.json").write_text(json.dumps(older), encoding="utf-8")
    capsys.readouterr()
    assert main([*again, "--only", "fdk"]) == 0
    assert re.findall(r"measure the costs of (\w+)", capsys.readouterr().err) == ["cnn"]
    assert main([*again, "--only", "fdk", "--costs"]) == 0
    assert re.findall(r"measure the costs of (\w+)", capsys.readouterr().err) == list(before)
    after = {name: read_row(out / "results", name) for name in before}
    assert all(replace(after[name], measured=None) == replace(before[name], measured=None) for name in before)
    peaks = [{name: row.measured["case_peak_mib"] for name, row in rows.items()} for rows in (before, after)]
    assert peaks[0] == pytest.approx(peaks[1], abs=0.05), "Python's own small objects differ"
    line = next(line for line in (out / "RESULTS.md").read_text(encoding="utf-8").splitlines() if "--only cnn`" in line)
    cost = after["cnn"].measured
    assert f"| a CNN | {cost['case_seconds']:.2f} | {cost['case_peak_mib']:.0f} |" in line
    assert f"| {before['cnn'].cost['samples']} | {cost['training_minutes']:.0f} |" in line


def test_a_stage_that_runs_share_is_measured_where_it_is_trained_and_once(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = load_table(str(done / "table.yaml"))
    costs = Costs(Evaluation(table, Store.open(done / "store"), tmp_path / "out", "cpu", budget_of(table, None)))
    asked: list[str] = []

    def forecast(runner: Runner, repeats: int) -> float:
        asked.append(runner.stage.name)
        return 60.0 * len(asked)

    monkeypatch.setattr("clsdm_bench.costs.forecast", forecast)
    minutes = [costs.measure(name)["training_minutes"] for name in ("ldm", "mean", "ceiling", "fdk")]
    assert asked == ["autoencoder", "joint", "alignment", "diffusion"]
    assert minutes == [1.0 + 2.0, 1.0 + 3.0 + 4.0, 1.0, None]
    assert not (tmp_path / "out").exists()


def test_another_machine_goes_on_from_what_was_published_and_trains_only_what_is_missing(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    public = tmp_path / "public"
    assert main(command(done, "--publish", str(public))) == 0
    for suffix in (".json", ".csv", ".png"):
        (public / "results" / f"fdk{suffix}").unlink()
    elsewhere = command(done, "--publish", str(public))
    elsewhere[elsewhere.index("--out") + 1] = str(tmp_path / "out")
    capsys.readouterr()
    assert main(elsewhere) == 0
    assert capsys.readouterr().err.count("judge ") == 1, "only FDK"
    assert not (tmp_path / "out" / "runs").exists()
    assert not (tmp_path / "out" / "volumes" / "mean.npy").exists()
    page = (public / "RESULTS.md").read_text(encoding="utf-8")
    assert "Not there yet" not in page
    assert all((public / link).exists() for link in re.findall(r"\]\((.*?)\)", page))
    assert read_row(public / "results", "mean") == read_row(done / "out" / "results", "mean")


def test_what_was_published_of_another_recipe_is_not_taken(done: Path, tmp_path: Path) -> None:
    public = tmp_path / "results"
    shutil.copytree(done / "out" / "results", public)
    row = read_row(public, "cnn")
    write_row(public, replace(row, key={**row.key, "recipe": "another"}))
    table = load_table(str(done / "table.yaml"))
    evaluation = Evaluation(table, Store.open(done / "store"), tmp_path / "out", "cpu", budget_of(table, None))
    assert evaluation.kept("mean", public) is not None
    assert evaluation.kept("cnn", public) is None
    other = Evaluation(table, Store.open(done / "store"), tmp_path / "out", "cpu", Budget(60))
    assert other.kept("mean", public) is None, "another budget is another recipe"
    assert other.kept("fdk", public) is not None, "which has no budget"


def test_another_budget_is_another_run(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(done, "--only", "cnn", "--budget", "40")) == 2
    assert "another configuration" in capsys.readouterr().err


def test_equal_minutes_are_samples_by_measured_speeds(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = read_row(done / "out" / "results", "cnn")
    twice = ["--minutes-each", str(2.0 * record.measured["training_minutes"]), "--speeds", str(done / "out")]
    other = [*command(done, "--only", "cnn", *twice), "--out", str(tmp_path)]
    assert main([*other, "--dry-run"]) == 0
    assert f"{2 * record.cost['samples']} samples" in capsys.readouterr().out
    assert main(other) == 0
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "minutes of training for each method" in page
    assert "--minutes-each" in page


def test_the_speed_of_a_run_is_that_of_all_its_stages(done: Path, tmp_path: Path) -> None:
    table, results = load_table(str(done / "table.yaml")), done / "out" / "results"
    shutil.copytree(results, tmp_path / "results")
    parts = read_row(results, "ceiling")
    write_row(tmp_path / "results", replace(parts, measured={**parts.measured, "training_minutes": 1e-6}))
    rows = {name: row for name, row in table.rows.items() if name != "ceiling"}
    last = table.model_copy(update={"rows": {**rows, "ceiling": table.rows["ceiling"]}})
    assert budget_of_minutes(last, 1.0, tmp_path / "results") == budget_of_minutes(table, 1.0, results)


@pytest.mark.parametrize(
    "options", [["--minutes-each", "3"], ["--speeds", "."], ["--minutes-each", "3", "--speeds", ".", "--budget", "9"]]
)
def test_equal_minutes_need_speeds_and_nothing_else(
    options: list[str], done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(done, *options)) == 2
    assert "--minutes-each: expected together with --speeds" in capsys.readouterr().err


def test_the_plan_names_what_is_shared(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(done, "--only", "ldm", "--dry-run", "--budget", "60")) == 0
    plan = capsys.readouterr().out
    assert "60 training samples" in plan
    assert "(of ours)" in plan
    assert "cnn" not in plan


def test_an_unknown_row_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(done, "--only", "magic")) == 2
    assert "no row 'magic'" in capsys.readouterr().err


# The page -------------------------------------------------------------------------------------------------------------


def result(name: str, psnr: list[float]) -> RowResult:
    """A row with these figures and nothing else."""
    outcomes = [Outcome(name, f"p{i}", 0, 1.0, {"honest.psnr_3d_db": value}) for i, value in enumerate(psnr)]
    distances = ({"patches_hu": psnr[0], "detail_hu": psnr[1]},)
    return RowResult(name, {"weights": None}, tuple(outcomes), distances, None, None)


@pytest.mark.parametrize(
    ("known", "said"), [({"processor_bfloat16": False}, True), ({"processor_bfloat16": True}, False), ({}, False)]
)
def test_the_page_says_where_float32_stood_in_for_bfloat16(known: dict[str, bool], said: bool) -> None:
    machine = {"processor_threads": 1, "gpu": None, "platform": "Linux", "packages": {"torch": "2.13.0"}, **known}
    row = RowResult("a", {"weights": "1"}, (), (), None, {"minutes": 1.0, "environment": machine})
    assert ("float32 in place of bfloat16" in hardware_sentence({"a": row}, Budget(60))) is said


def test_a_claim_holds_only_with_its_margin_and_the_best_baseline_is_found(done: Path) -> None:
    table = load_table(str(done / "table.yaml"))
    low, high = [20.0 + 0.1 * i for i in range(8)], [21.0 + 0.1 * i for i in range(8)]
    results = {"mean": result("mean", high), "cnn": result("cnn", low), "ldm": result("ldm", [v - 3.0 for v in low])}
    assert best_baseline(table, results) == "cnn"
    claim = Claim(row="mean", than="best-baseline", figure="honest.psnr_3d_db", margin=0.5, text="")
    assert judge_claim(claim, table, results).large_enough
    assert not judge_claim(claim.model_copy(update={"margin": 1.5}), table, results).large_enough
    assert judge_claim(claim, table, {"mean": results["mean"]}) is None
    nearer = Claim(row="mean", than="cnn", figure="swd.detail_hu", lower_is_better=True, text="")
    assert not judge_claim(nearer, table, results).large_enough
    assert judge_claim(nearer, table, results).test is None, "of rows without shares the distance alone is known"
    assert judge_claim(nearer.model_copy(update={"row": "cnn", "than": "mean"}), table, results).large_enough


def test_the_readme_gets_the_measured_rows_and_the_published_ones_under_their_own_heading(
    done: Path, tmp_path: Path
) -> None:
    table = load_table(str(done / "table.yaml"))
    results = {name: read_row(done / "out" / "results", name) for name in table.rows}
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_readme(table, results, path)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert text.index("the mean") < text.index("as published; protocol differs") < text.index("26.75")
    assert "| one view |" not in text, "ablations stay in RESULTS.md"
    assert "Not measured yet" in comparison(table, {})
    path.write_text("no marks", encoding="utf-8")
    with pytest.raises(InputError, match="marks"):
        write_readme(table, results, path)


# Evaluation and reconstruction ----------------------------------------------------------------------------------------


def test_held_out_views_are_others_than_the_input_and_the_truth_explains_both(done: Path) -> None:
    store = Store.open(done / "store")
    (patient, *_) = load_patients(store, "test", "chest", (0.0, 90.0), held_out_deg=(45.0, 135.0))
    assert [xray.view.angle_deg for xray in patient.xrays] == [0.0, 90.0]
    assert [xray.view.angle_deg for xray in patient.held_out] == [45.0, 135.0]
    figures = scored("truth", patient.truth, patient, 0, 0.0).figures
    assert figures["reprojection_rmse"] < 0.05
    assert figures["reprojection_held_out_rmse"] < 0.05


@pytest.mark.parametrize("product", ["mean", "sample", "ensemble"])
def test_a_run_reconstructs_what_its_bundle_would(product: str, done: Path, tmp_path: Path) -> None:
    config, run = tiny_config(steps=STAGES_STEPS), done / "out" / "runs" / "ours"
    model = load_latent(config, run, ("autoencoder", "alignment", "diffusion"), torch.device("cpu"))
    manifest = Manifest(1, "tiny", "1", "none", WINDOW_HU, config.model, "float32")
    bundle = write_bundle(tmp_path / "bundle", manifest, model.state_dict(), "card", {})
    (patient, *_) = load_patients(Store.open(done / "store"), "test", "chest", (0.0, 90.0))
    options = Options(product=product, samples=3, seed=4, device="cpu")
    expected = reconstruct(patient.xrays, bundle, options).volume
    found = Latent(model, torch.device("cpu"), product=product, samples=3, seed=4).reconstruct(patient.xrays)
    assert np.array_equal(found.hu, expected.hu)


# Public data sets -----------------------------------------------------------------------------------------------------


def test_data_that_no_layout_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="x2ct-hdf5, dicom"):
        fitting_source(load_table("lidc128").sources, tmp_path)


def test_the_published_lists_of_scans_split_a_dicom_download_by_patient(tmp_path: Path) -> None:
    ct = CTVolume(np.full((10, 12, 14), 40.0, dtype=np.float32), (2.0, 3.0, 4.0), (0.0, 0.0, 0.0))
    lists = {
        "train": [f"LIDC-IDRI-{n:04d}.2000.1" for n in range(2, 62)],
        "test": ["LIDC-IDRI-0001.20000101.3000566.1"],
    }
    for name, ids in lists.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(ids), encoding="utf-8")
    write_series(tmp_path / "LIDC-IDRI-0001" / "series", ct)
    source = fitting_source(load_table("lidc128").sources, tmp_path)
    assert source.kind == "dicom"
    placed, rejected = scans_of(source)
    assert [(scan.patient, split) for scan, split in placed] == [("LIDC-IDRI-0001", "test")]
    assert len(rejected) == 60, "scans that are listed and not there are named"
    assert isinstance(source, SourceConfig)


def test_the_shipped_readme_has_the_marks_and_its_literature_is_that_of_the_table() -> None:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = text.partition(BEGIN)[2].partition(END)[0]
    for item in load_table("openkbp64").published:
        assert f"| {item.label}; {item.source} | {item.psnr:.2f} | {item.ssim:.3f} |" in block
