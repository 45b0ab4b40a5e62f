"""The benchmark from end to end on the smallest table: trained in slices, measured once, refused where it must be."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_store
from tiny_benchmark import SPLIT, STAGES_STEPS, command, opened, rows, written_table
from tiny_systems import benchmark_config

from clsdm.errors import InputError
from clsdm.model.bundle import SCHEMA, Manifest, patient_mark, write_bundle
from clsdm.reconstruction import Options, reconstruct
from clsdm.volume.hu import WINDOW_HU
from clsdm.xray.preprocess import prepare
from clsdm_bench.cli import main
from clsdm_bench.costs import Costs
from clsdm_bench.evaluate import by_case
from clsdm_bench.patients import figures_for, load_patients
from clsdm_bench.records import Records
from clsdm_bench.report.claims import check_claim
from clsdm_bench.report.readme import BEGIN, END, comparison, write_readme
from clsdm_bench.resolve import Budget, budget_of_minutes
from clsdm_bench.rows import volumes_path
from clsdm_bench.systems.ours import latent_model
from clsdm_bench.table import OWN_STAGES, Claim, TableSpec, load_table
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import Runner


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
        assert f"| `{name}` |" in page
    assert "Not there yet" not in page
    assert "ours wins" in page
    assert "A table for a test." in page
    assert "- One more thing.\n" in page
    assert "very much" in page
    assert "Hardware: CPU" in page
    for link in re.findall(r"\]\((.*?)\)", page):
        assert (done / "out" / link).stat().st_size > 1000, link
    assert "![mean](records/mean.png)" in page
    assert "![Latents of ours](records/latents-ours.png)" in page


def test_every_patient_has_a_line_for_each_row_and_seed(done: Path) -> None:
    with (done / "out" / "records" / "patients.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * (8 + 2 * 2), "eight deterministic rows, two with two seeds"
    samples = {(line["case"], line["seed"]): line["honest.psnr_3d_db"] for line in lines if line["method"] == "sample"}
    assert len(set(samples.values())) == len(samples) == 6
    for line in lines:
        assert float(line["reprojection_rmse"]) >= 0.0
        assert float(line["reprojection_held_out_rmse"]) > 0.0
    kinds = {path.suffix for path in (done / "out" / "records").iterdir()}
    assert kinds == {".csv", ".json", ".png"}
    assert len([path for path in (done / "out" / "records").iterdir() if path.suffix != ".png"]) == 2


def test_methods_are_measured_on_the_same_patients_and_shuffling_changes_the_result(done: Path) -> None:
    errors = {name: by_case(rows(done)[name].outcomes, "honest.mae_hu") for name in ("mean", "shuffled", "cnn")}
    assert len({tuple(sorted(each)) for each in errors.values()}) == 1
    assert errors["mean"] != errors["shuffled"]
    mean, shuffled = (np.load(volumes_path(done / "out", name)) for name in ("mean", "shuffled"))
    assert np.array_equal(shuffled[0], mean[1]), "the first patient gets what the second one's X-rays show"


def test_distances_are_compared_patient_by_patient(done: Path) -> None:
    table, results = load_table(str(done / "table.yaml")), rows(done)
    claim = Claim(row="sample", than="cnn", figure="swd.detail_hu", lower_is_better=True, text="")
    finding = check_claim(claim, table, results)
    shares = [by_case(results[name].outcomes, "swd.detail_hu") for name in ("sample", "cnn")]
    difference = np.mean([shares[0][case] - shares[1][case] for case in shares[0]])
    assert finding.test.difference.mean == pytest.approx(difference)
    assert " against " in finding.found


def test_no_interval_of_the_page_excludes_its_own_point(done: Path) -> None:
    page = (done / "out" / "RESULTS.md").read_text(encoding="utf-8")
    cells = re.findall(r"\| (-?[\d.]+) \[(-?[\d.]+), (-?[\d.]+)\]", page)
    assert len(cells) > 50
    assert all(float(low) <= float(mean) <= float(high) for mean, low, high in cells)


def test_the_costs_are_those_of_the_stages(done: Path) -> None:
    found = rows(done)
    assert found["mean"].cost["samples"] == 3 * STAGES_STEPS * 2
    assert found["ldm"].cost["samples"] == found["cnn"].cost["samples"] == found["mean"].cost["samples"]
    assert found["fdk"].cost is None


def test_called_again_it_trains_and_measures_nothing(done: Path) -> None:
    before = {
        path: path.stat().st_mtime_ns for path in (done / "out").rglob("*") if path.suffix in (".npy", ".safetensors")
    }
    assert len(before) > 10
    assert main(command(done)) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_training_that_stopped_stops_the_whole_command(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("clsdm_bench.benchmark.train_missing", lambda *a, **k: asked.append(a) or False)
    assert main(command(done, "--only", "mean", "cnn", "fdk")) == 3
    assert len(asked) == 1, "the other rows are not begun after a signal"


def test_a_row_is_measured_anew_when_its_weights_are_others(done: Path) -> None:
    row = rows(done)["cnn"]
    changed = replace(row, made_from={**row.made_from, "weights": "others"}, outcomes=())
    Records.open(done / "out" / "records").with_row(changed)
    assert main(command(done, "--only", "cnn")) == 0
    assert len(rows(done)["cnn"].outcomes) == 3


def test_a_run_that_knows_a_test_patient_is_not_measured(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = done / "out" / "runs" / "cnn" / "patients.json"
    kept = path.read_text(encoding="utf-8")
    manifest = json.loads(kept)
    manifest["trained"].append(patient_mark("patient-e"))
    path.write_text(json.dumps(manifest), encoding="utf-8")
    try:
        assert main(command(done, "--only", "cnn")) == 2
        assert "other patients" in capsys.readouterr().err
        with pytest.raises(InputError, match=r"trained on 1 .*\(e"):
            opened(done, done / "out" / "records").measure("cnn")
    finally:
        path.write_text(kept, encoding="utf-8")


def test_a_store_that_moves_a_training_patient_to_the_test_is_refused(done, tmp_path, capsys):
    tiny_store(tmp_path / "store", {**SPLIT, "a": "test"})
    arguments = [*command(done, "--only", "cnn"), "--store", str(tmp_path / "store")]
    assert main(arguments) == 2
    assert "another protocol (cases differs)" in capsys.readouterr().err
    assert main([*arguments, "--records", str(tmp_path / "records")]) == 2
    assert "other patients" in capsys.readouterr().err


def test_records_are_read_back_as_they_were_kept(done: Path, tmp_path: Path) -> None:
    records = Records.open(done / "out" / "records")
    row = records.rows["mean"]
    undefined = replace(row.outcomes[0], figures={**row.outcomes[0].figures, "honest.mae_bone_hu": None})
    replace(records, folder=tmp_path).with_row(replace(row, outcomes=(undefined, *row.outcomes[1:])))
    back = Records.open(tmp_path)
    assert back.rows["mean"].outcomes[1:] == row.outcomes[1:]
    assert "honest.mae_bone_hu" not in back.rows["mean"].outcomes[0].figures
    assert replace(back, folder=records.folder, rows={**back.rows, "mean": row}) == records
    (tmp_path / "patients.csv").unlink()
    with pytest.raises(InputError, match=r"rows\.json: expected the rows"):
        Records.open(tmp_path)


def test_costs_are_measured_once_and_anew_where_that_is_asked_for(done, tmp_path, capsys):
    shutil.copytree(done, tmp_path / "copy")
    out = tmp_path / "copy" / "out"
    again = [*command(done), "--out", str(out)]
    before = rows(tmp_path / "copy")
    assert all(row.measured["case_seconds"] > 0.0 for row in before.values())
    trained = {name: row.measured["training_minutes"] for name, row in before.items()}
    assert all((trained[name] is not None) == (row.cost is not None) for name, row in before.items())
    assert trained["mean"] == trained["sample"] > trained["ceiling"] > 0.0, "a round trip has the autoencoder's alone"
    shutil.rmtree(out / "runs")  # it takes no weights
    Records.open(out / "records").with_row(replace(before["cnn"], measured=None))
    capsys.readouterr()
    assert main([*again, "--only", "fdk"]) == 0
    assert re.findall(r"measure the costs of (\w+)", capsys.readouterr().err) == ["cnn"]
    assert main([*again, "--only", "fdk", "--costs"]) == 0
    assert re.findall(r"measure the costs of (\w+)", capsys.readouterr().err) == list(
        load_table(str(done / "table.yaml")).rows
    )
    after = rows(tmp_path / "copy")
    assert all(replace(after[name], measured=None) == replace(before[name], measured=None) for name in before)
    peaks = [{name: row.measured["case_peak_mib"] for name, row in each.items()} for each in (before, after)]
    assert peaks[0] == pytest.approx(peaks[1], abs=0.05), "Python's own small objects differ"
    line = next(line for line in (out / "RESULTS.md").read_text(encoding="utf-8").splitlines() if "| `cnn` |" in line)
    cost = after["cnn"].measured
    assert f"| a CNN | {cost['case_seconds']:.2f} | {cost['case_peak_mib']:.0f} |" in line
    assert f"| {before['cnn'].cost['samples']} | {cost['training_minutes']:.0f} |" in line


def test_a_stage_that_runs_share_is_measured_where_it_is_trained_and_once(done, tmp_path, monkeypatch):
    costs = Costs(replace(opened(done, done / "out" / "records"), out=tmp_path / "out"))
    asked: list[str] = []

    def forecast(runner: Runner, repeats: int) -> float:
        asked.append(runner.stage.name)
        return 60.0 * len(asked)

    monkeypatch.setattr("clsdm_bench.costs.forecast", forecast)
    minutes = [costs.measure(name)["training_minutes"] for name in ("ldm", "mean", "ceiling", "fdk")]
    assert asked == ["autoencoder", "joint", "alignment", "diffusion"]
    assert minutes == [1.0 + 2.0, 1.0 + 3.0 + 4.0, 1.0, None]
    assert not (tmp_path / "out").exists()


def test_another_machine_goes_on_from_the_records_and_trains_only_what_is_missing(done, tmp_path, capsys):
    kept = tmp_path / "results"
    shutil.copytree(done / "out" / "records", kept)
    records = Records.open(kept)
    replace(records, rows={name: row for name, row in records.rows.items() if name != "fdk"}).with_latents("x", {})
    elsewhere = [*command(done, "--records", str(kept)), "--out", str(tmp_path / "out")]
    capsys.readouterr()
    assert main(elsewhere) == 0
    assert re.findall(r"measure (\w+)\n", capsys.readouterr().err) == ["fdk"]
    assert not (tmp_path / "out" / "runs").exists()
    assert not (tmp_path / "out" / "volumes" / "mean.npy").exists()
    page = (tmp_path / "out" / "RESULTS.md").read_text(encoding="utf-8")
    assert "Not there yet" not in page
    assert all((tmp_path / "out" / link).exists() for link in re.findall(r"\]\((.*?)\)", page))
    assert Records.open(kept).rows["mean"] == rows(done)["mean"]


def test_the_page_and_the_comparison_are_made_anew_from_the_records_alone(done: Path, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}", encoding="utf-8")
    report = ["report", "--table", str(done / "table.yaml"), "--records", str(done / "out" / "records")]
    assert main([*report, "--page", str(done / "out" / "table.md"), "--readme", str(readme)]) == 0
    made = (done / "out" / "table.md").read_text(encoding="utf-8")
    (done / "out" / "table.md").unlink()
    assert made == (done / "out" / "RESULTS.md").read_text(encoding="utf-8")
    assert "| the mean |" in readme.read_text(encoding="utf-8")
    assert main([*report, "--records", str(tmp_path)]) == 2


def test_a_record_of_another_recipe_is_not_taken(done: Path, tmp_path: Path) -> None:
    records = replace(Records.open(done / "out" / "records"), folder=tmp_path)
    row = records.rows["cnn"]
    records.with_row(replace(row, made_from={**row.made_from, "recipe": "another"}))
    benchmark = opened(done, tmp_path)
    assert benchmark.kept("mean") is not None
    assert benchmark.kept("cnn") is None
    other = opened(done, tmp_path, Budget(60))
    assert other.kept("mean") is None, "another budget is another recipe"
    assert other.kept("fdk") is not None, "which has no budget"


def test_x_rays_of_the_cube_are_another_protocol(done: Path) -> None:
    benchmark = opened(done, done / "out" / "records")
    table = TableSpec.model_validate({**benchmark.table.model_dump(), "xrays": "cube"})
    with pytest.raises(InputError, match=r"another protocol \(xrays differs\)"):
        replace(benchmark, table=table)


def test_another_budget_is_another_run(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(done, "--only", "cnn", "--budget", "40", "--records", str(tmp_path))) == 2
    assert "another configuration" in capsys.readouterr().err


def test_records_of_another_budget_are_refused_and_stay(done: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(done / "out" / "records", tmp_path / "records")
    before = (tmp_path / "records" / "rows.json").read_bytes()
    records = ("--records", str(tmp_path / "records"), "--out", str(tmp_path / "out"))
    assert main(command(done, "--only", "fdk", "--budget", "40", *records)) == 2  # fdk knows no budget, the page does
    assert "rows of another budget" in capsys.readouterr().err
    assert (tmp_path / "records" / "rows.json").read_bytes() == before


def test_equal_minutes_are_samples_by_measured_speeds(done, tmp_path, capsys):
    record = rows(done)["cnn"]
    speeds = str(done / "out" / "records")
    twice = ["--minutes-each", str(2.0 * record.measured["training_minutes"]), "--speeds", speeds]
    other = [*command(done, "--only", "cnn", *twice), "--out", str(tmp_path)]
    assert main([*other, "--dry-run"]) == 0
    assert f"{2 * record.cost['samples']} samples" in capsys.readouterr().out
    assert main(other) == 0
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "minutes of training for each method" in page
    assert "--minutes-each" in page


def test_the_speed_of_a_run_is_that_of_all_its_stages(done: Path) -> None:
    table, records = load_table(str(done / "table.yaml")), Records.open(done / "out" / "records")
    parts = records.rows["ceiling"]
    faster = replace(parts, measured={**parts.measured, "training_minutes": 1e-6})
    last = {name: row for name, row in table.rows.items() if name != "ceiling"} | {"ceiling": table.rows["ceiling"]}
    other = replace(records, rows={**records.rows, "ceiling": faster})
    reordered = table.model_copy(update={"rows": last})
    assert budget_of_minutes(reordered, 1.0, other) == budget_of_minutes(table, 1.0, records)


@pytest.mark.parametrize(
    "options", [["--minutes-each", "3"], ["--speeds", "."], ["--minutes-each", "3", "--speeds", ".", "--budget", "9"]]
)
def test_equal_minutes_need_speeds_and_nothing_else(options, done, capsys):
    assert main(command(done, *options)) == 2
    assert "--minutes-each: expected together with --speeds" in capsys.readouterr().err


def test_the_plan_names_what_is_shared(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(done, "--only", "ldm", "--dry-run", "--budget", "60")) == 0
    plan = capsys.readouterr().out
    assert "60 training samples" in plan
    assert "(of ours)" in plan
    assert "cnn" not in plan


def test_no_plan_is_made_for_a_store_that_is_not_there(done: Path, tmp_path: Path, capsys) -> None:
    assert main(command(done, "--dry-run", "--store", str(tmp_path / "nowhere"))) == 2
    assert "nowhere" in capsys.readouterr().err
    assert main(command(done, "--dry-run", "--store", str(tmp_path / "nowhere"), "--data", str(tmp_path))) == 0


def test_an_unknown_row_is_refused(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(done, "--only", "magic")) == 2
    assert "no row 'magic'" in capsys.readouterr().err


def test_the_readme_gets_the_measured_rows_and_the_published_ones_under_their_own_heading(done, tmp_path):
    table = load_table(str(done / "table.yaml"))
    results = rows(done)
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
    figures = figures_for(patient.truth, patient)
    assert figures["reprojection_rmse"] < 0.05
    assert figures["reprojection_held_out_rmse"] < 0.05


@pytest.mark.parametrize("product", ["mean", "sample", "ensemble"])
def test_a_row_is_what_its_bundle_gives_a_user(product: str, done: Path, tmp_path: Path) -> None:
    config, run, cpu = benchmark_config(), done / "out" / "runs" / "ours", torch.device("cpu")
    model = latent_model(config, run, OWN_STAGES, cpu, OWN_STAGES)
    manifest = Manifest(SCHEMA, "tiny", "1", "none", WINDOW_HU, config.model, "float32")
    bundle = write_bundle(tmp_path / "bundle", manifest, model.state_dict(), "card", {})
    (patient, *_) = load_patients(Store.open(done / "store"), "test", "chest", (0.0, 90.0))
    expected = reconstruct(patient.xrays, bundle, Options(product, samples=3, seed=4, device="cpu")).volume
    table = load_table(str(done / "table.yaml"))
    row = table.rows["sample"].model_copy(update={"product": product, "samples": 3})
    benchmark = opened(done, tmp_path / "records")
    benchmark = replace(benchmark, table=table.model_copy(update={"rows": {**table.rows, "sample": row}}))
    assert np.array_equal(benchmark.work("sample", 4)(patient).hu, expected.hu)


def test_the_ldm_is_drawn_without_any_mean(done: Path) -> None:
    benchmark = opened(done, done / "out" / "records")
    run = benchmark.run("ldm")
    model = latent_model(run.config, run.folder, run.stages, torch.device("cpu"), run.stages)
    (patient, *_) = benchmark.patients()
    images, cameras = prepare(patient.xrays, model.config.detector, torch.device("cpu"))
    assert not model.align(images, cameras).mean.any()
