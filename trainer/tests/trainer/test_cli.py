"""The trainer's command line from scans to a bundle that reconstructs: every command once, on the smallest recipe."""

import csv
import json
import shutil
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny import MARGIN, phantom_hu, tiny_config, tiny_store

from clsdm.app.cli import main as clsdm
from clsdm.model.bundle import Bundle
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.write import write_ct
from clsdm_bench.evaluate import EXPOSURES
from clsdm_trainer.cli import main as train
from clsdm_trainer.recipe import save_config

ABOUT = {"licence": "none", "anatomy": "ellipsoids", "data": "made by a test", "recipe": "this test", "remarks": "-"}


def written_recipe(folder: Path, **changes: object) -> str:
    """A file with the tiny recipe."""
    save_config(tiny_config(**changes), folder / "recipe.yaml")
    (folder / "about.yaml").write_text(yaml.safe_dump(ABOUT), encoding="utf-8")
    return str(folder / "recipe.yaml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, and a run of all stages cut once on the way."""
    folder = tmp_path_factory.mktemp("trained")
    tiny_store(folder / "store")
    command = ["all", "--preset", written_recipe(folder, steps=3), "--store", str(folder / "store")]
    command += ["--run", str(folder / "run"), "--about", str(folder / "about.yaml"), "--device", "cpu"]
    assert train([*command, "--minutes", "0"]) == 3, "with no time at all the run stops and says so"
    with redirect_stdout(StringIO()) as printed:
        assert train(command) == 0
    (folder / "printed.txt").write_text(printed.getvalue(), encoding="utf-8")
    return folder


def test_all_says_once_what_bundle_it_has_left_after_the_figures(trained: Path) -> None:
    bundle = Bundle.open(trained / "run" / "bundle")
    lines = (trained / "printed.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if str(bundle.path) in line] == lines[-1:]
    assert bundle.hash in lines[-1]


def test_all_as_json_is_json_to_its_end_and_counts_the_reconstructions_of_its_evaluation(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")  # all stages are done
    command = ["all", "--preset", str(trained / "recipe.yaml"), "--store", str(trained / "store"), "--json"]
    command += ["--run", str(tmp_path / "run"), "--about", str(trained / "about.yaml"), "--device", "cpu"]
    assert train(command) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    bundle = Bundle.open(tmp_path / "run" / "bundle")
    assert records[-1] == {"bundle": str(bundle.path), "weights": bundle.hash}
    assert records[-2]["about"]["model_sha256"] == bundle.hash
    counted = [record["i"] for record in records if record.get("stage") == "evaluate"]
    assert counted == list(range(1, records[-3]["n"] + 1))


def test_all_leaves_a_bundle_whose_card_holds_the_figures_of_its_own_evaluation(trained: Path) -> None:
    bundle = Bundle.open(trained / "run" / "bundle")
    results = json.loads((trained / "run" / "results" / "results.json").read_text(encoding="utf-8"))
    assert results["about"]["model_sha256"] == bundle.hash
    mean = results["methods"]["mean"]["honest.psnr_3d_db"]["mean"]
    card = bundle.read("MODEL_CARD.md").decode()
    assert f" {mean:.2f} |" in card, "of one patient, without an interval"
    assert "Research only" in card
    assert "Structures below about 48 mm (two voxels)" in card, "at the spacing of its own grid"
    assert "--device cpu" in results["about"]["command"], "the device of all stages is that of the evaluation"
    assert bundle.figures["methods"]["mean"]["honest.psnr_3d_db"]["mean"] == mean


def test_every_table_has_the_sanity_rows_and_every_case_a_line(trained: Path) -> None:
    page = (trained / "run" / "results" / "results.md").read_text(encoding="utf-8")
    for row in ("mean", "sample", "ensemble", "round trip", "population mean", "nearest training patient"):
        assert row in page
    assert "shuffled" not in page, "the one test patient would get its own X-rays"
    lines = (trained / "run" / "results" / "cases.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 8 + len(EXPOSURES), "one test patient: three seeds of sample, five other rows, exposures"
    methods = {row["method"] for row in csv.DictReader(lines)}
    assert {"mean", "mean, frontal alone", "mean, lateral alone", "mean, c-arm"} <= methods


def test_the_bundle_reconstructs_from_the_x_rays_of_a_file(trained: Path) -> None:
    hu = phantom_hu(np.random.default_rng(5), Grid(40, 9.6)).astype(np.float32)
    write_ct(CTVolume.on_grid(hu, Grid(40, 9.6), (10.0, 20.0, 30.0)), trained / "ct.nii.gz")
    assert clsdm(["project", str(trained / "ct.nii.gz"), "--out", str(trained / "x"), "--quiet"]) == 0
    films = ["--frontal", str(trained / "x" / "frontal.dcm"), "--lateral", str(trained / "x" / "lateral.dcm")]
    bundle = ["--bundle", str(trained / "run" / "bundle"), "--out", str(trained / "r.nii.gz")]
    assert clsdm(["reconstruct", *films, *bundle, "--product", "sample", "--quiet"]) == 0
    record = json.loads((trained / "r.json").read_text(encoding="utf-8"))
    assert record["provenance"]["model"] == "tiny"
    assert len(record["residuals"]) == 2


def test_a_run_is_not_exported_with_the_store_of_other_patients(trained, tmp_path, capsys):
    """The bundle's list of patients is the run's, whatever the store says."""
    other = tiny_store(tmp_path / "store", {"x": "train", "y": "val", "d": "test"})
    about = ["--about", str(trained / "about.yaml")]
    command = ["export", "--run", str(trained / "run"), "--store", str(other.folder), "--out", str(tmp_path / "bundle")]
    assert train([*command, *about]) == 2
    assert "begun with other patients" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()


def test_a_model_is_not_judged_on_patients_it_was_selected_on(trained, capsys):
    command = ["evaluate", "--bundle", str(trained / "run" / "bundle"), "--store", str(trained / "store")]
    assert train([*command, "--out", str(trained / "val"), "--split", "val"]) == 2
    assert "never seen" in capsys.readouterr().err


def test_a_dry_run_prints_the_recipe_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_store(tmp_path / "store")
    command = ["alignment", "--preset", written_recipe(tmp_path), "--store", str(tmp_path / "store")]
    assert train([*command, "--run", str(tmp_path / "run"), "--dry-run"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["name"] == "tiny"
    assert not (tmp_path / "run").exists()


def test_prepare_makes_a_store_that_the_recipe_accepts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(3)
    for name in ("p1", "p2", "p3"):
        hu = phantom_hu(random, Grid(32, 12.0)).astype(np.float32)
        write_ct(CTVolume.on_grid(hu, Grid(32, 12.0)), tmp_path / "scans" / f"{name}.nii.gz")
    splits = {"train": ["p1"], "val": ["p2"], "test": ["p3"]}
    (tmp_path / "scans" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    recipe = written_recipe(tmp_path)
    command = ["prepare", "--preset", recipe, "--source", f"folder:{tmp_path / 'scans'}", "--workers", "1"]
    assert train([*command, "--out", str(tmp_path / "store")]) == 0
    assert not capsys.readouterr().err
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["grid"] == {"size": 16, "spacing_mm": 24.0, "margin": MARGIN, "scan_spacing_mm": 2.0}
    assert (
        train(["autoencoder", "--preset", recipe, "--store", str(tmp_path / "store"), "--run", "x", "--dry-run"]) == 0
    )


def test_prepare_says_at_once_what_training_will_refuse_and_the_remedy_works(tmp_path, capsys):
    random = np.random.default_rng(3)
    for name in ("anna", "bert", "carl", "dora"):
        hu = phantom_hu(random, Grid(32, 12.0)).astype(np.float32)
        write_ct(CTVolume.on_grid(hu, Grid(32, 12.0)), tmp_path / "scans" / f"{name}.nii.gz")
    recipe, store = written_recipe(tmp_path), ["--store", str(tmp_path / "store")]
    command = ["prepare", "--preset", recipe, "--workers", "1", "--out", store[1]]
    source = f"folder:{tmp_path / 'scans'}"
    assert train([*command, "--source", f"{source},split=train"]) == 0, "the store is right, for what it is"
    (said,) = capsys.readouterr().err.splitlines()
    assert "training will refuse this store: no case in split 'val'" in said
    training = ["autoencoder", "--preset", recipe, *store, "--run", str(tmp_path / "run"), "--dry-run"]
    assert train(training) == 2
    remedy = said.partition("no case in split ")[2]
    assert capsys.readouterr().err.strip().endswith(remedy), "in the words of prepare"
    (tmp_path / "scans" / "splits.json").write_text(said[said.index("{") : said.index("}") + 1], encoding="utf-8")
    assert train([*command, "--source", source]) == 0
    assert not capsys.readouterr().err
    assert train(training) == 0


@pytest.mark.parametrize("what", ["autoencoder", "evaluate"])
def test_neither_training_nor_evaluation_begins_on_a_store_that_has_changed(what, trained, tmp_path, capsys):
    store = tiny_store(tmp_path / "store")
    file = store.path(store.cases("train" if what == "autoencoder" else "test")[0])
    np.save(file, np.zeros_like(np.load(file)))
    arguments = {
        "autoencoder": ["--preset", written_recipe(tmp_path), "--run", str(tmp_path / "out"), "--device", "cpu"],
        "evaluate": ["--bundle", str(trained / "run" / "bundle"), "--out", str(tmp_path / "out")],
    }
    assert train([what, "--store", str(tmp_path / "store"), *arguments[what]]) == 2
    assert f"{file}: changed since it was prepared" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_unknown_store_or_recipe_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert train(["diffusion", "--store", str(tmp_path), "--run", str(tmp_path / "run")]) == 2
    assert train(["diffusion", "--preset", "nothing", "--store", str(tmp_path), "--run", "run"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert "manifest.json" in lines[0]
    assert "openkbp64" in lines[1]


def test_what_measures_is_handed_over_to_the_benchmark_or_refused_where_that_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert train(["evaluate", "--bundle", str(tmp_path), "--store", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("clsdm-bench: ")
    monkeypatch.setitem(sys.modules, "clsdm_bench.cli", None)
    assert train(["benchmark", "--store", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "clsdm-bench, which is not installed here" in capsys.readouterr().err
