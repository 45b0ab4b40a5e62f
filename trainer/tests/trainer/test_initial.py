"""Fine-tuning: a run that starts from a bundle, and what it may not start from."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import MODEL, PYRAMID, STAGE_NAMES, checkpoint, differences, tiny_config, tiny_runner, tiny_store, train

from clsdm.errors import InputError
from clsdm.model.bundle import SCHEMA, Bundle, Manifest, patient_mark, write_bundle
from clsdm.model.clsdm import CLSDM
from clsdm.volume.hu import WINDOW_HU
from clsdm_trainer.cli import main
from clsdm_trainer.data.store import Store
from clsdm_trainer.export import export_bundle, trained_model
from clsdm_trainer.initial import ORIGIN, origin_of
from clsdm_trainer.recipe import RunConfig
from clsdm_trainer.run import open_run, seen_patients, selected_patients

ABOUT = dict.fromkeys(("licence", "anatomy", "data", "recipe", "remarks"), "phantoms")
OWN = {"f": "train", "g": "train", "h": "val", "i": "test"}


@pytest.fixture(scope="module")
def config() -> RunConfig:
    return tiny_config(steps=2, validate_every=1, checkpoint_every=1)


@pytest.fixture(scope="module")
def bundle(config: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Trained on patients a to d."""
    folder = tmp_path_factory.mktemp("first")
    store = tiny_store(folder / "store")
    open_run(folder / "run", config, store)
    train(config, store, folder / "run", *STAGE_NAMES)
    return export_bundle(config, folder / "run", store, folder / "bundle", about=ABOUT, encoding="float32")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Somebody's own scans, f to i."""
    return tiny_store(tmp_path_factory.mktemp("own"), OWN, seed=5)


def test_a_run_starts_from_the_bundles_weights_and_trains_them_further(config, bundle, own, tmp_path):
    open_run(tmp_path, config, own, bundle)
    runner = tiny_runner(config, "alignment", own, tmp_path)
    start = {name: value.clone() for name, value in runner.stage.model.state_dict().items()}
    assert not differences(start, dict(bundle.model().state_dict()))
    train(config, own, tmp_path, "alignment")
    tuned, before = trained_model(config, tmp_path).state_dict(), bundle.model().state_dict()
    changed = {name.split(".")[0] for name, value in tuned.items() if not torch.equal(value, before[name])}
    assert changed == {"condition", "residual_std", "error_hu"}  # the only stage that was trained, and what it measured


def test_it_goes_on_to_the_same_bits_without_the_bundle(config, bundle, own, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(bundle.path, moved)
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        open_run(folder, config, own, Bundle.open(moved))
    shutil.rmtree(moved)
    train(config, own, tmp_path / "whole", "alignment")
    runner = tiny_runner(config, "alignment", own, tmp_path / "cut")
    runner.run(lambda: runner.progress.step >= 1)
    open_run(tmp_path / "cut", config, own)  # as the same command does
    train(config, own, tmp_path / "cut", "alignment")
    assert not differences(checkpoint(tmp_path / "whole", "alignment"), checkpoint(tmp_path / "cut", "alignment"))


def test_the_tuned_bundle_names_where_it_came_from_and_everyone_it_has_seen(config, bundle, own, tmp_path):
    open_run(tmp_path / "run", config, own, bundle)
    train(config, own, tmp_path / "run", "alignment")
    tuned = export_bundle(config, tmp_path / "run", own, tmp_path / "bundle", about=ABOUT)
    marks = {patient_mark(f"patient-{name}") for name in "abcdfgh"}
    assert set(tuned.manifest.trained_patients) == set(seen_patients(tmp_path / "run")) == marks
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"Fine-tuned from tiny, version 1 (weights {bundle.hash})" in card
    assert "Trained further: alignment." in card
    assert "| diffusion | - | - | - | - | as in the bundle it started from |" in card


def test_a_patient_that_the_bundle_was_selected_on_may_be_selected_on_again_and_not_tested(config, bundle, tmp_path):
    assert bundle.manifest.selected_patients == (patient_mark("patient-d"),)
    open_run(tmp_path / "run", config, tiny_store(tmp_path / "val", {"f": "train", "d": "val"}), bundle)
    assert selected_patients(tmp_path / "run") == [patient_mark("patient-d")]
    with pytest.raises(InputError, match=r"has seen 1 of the \d patients .* \(d\); .*: move these to train"):
        open_run(tmp_path / "other", config, tiny_store(tmp_path / "test", {"f": "train", "d": "test"}), bundle)
    open_run(tmp_path / "third", config, tiny_store(tmp_path / "train", {"d": "train", "f": "val"}), bundle)
    assert selected_patients(tmp_path / "third") == [patient_mark("patient-f")]  # d is trained on now


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_patient_that_the_bundle_was_trained_on_cannot_be_kept_back(config, bundle, split, tmp_path):
    store = tiny_store(tmp_path / "store", {"f": "train", "g": "val", "a": split})
    with pytest.raises(InputError, match=r"has seen 1 of the \d patients .* \(a\); .*: move these to train"):
        open_run(tmp_path / "run", config, store, bundle)
    assert not (tmp_path / "run").exists()
    open_run(tmp_path / "run", config, tiny_store(tmp_path / "moved", {"f": "train", "g": "val", "a": "train"}), bundle)


def test_another_grid_is_named_with_both_sizes(config, bundle, own, tmp_path):
    other = tiny_config(model={"detector": {"size": 32, "field_mm": 500.0}})
    with pytest.raises(InputError, match=r"detector .*480.* and .*500"):
        open_run(tmp_path, other, own, bundle)


def test_a_sample_may_take_other_steps_than_the_bundles_by_the_same_process(config, bundle, own, tmp_path):
    longer, arc = (
        config.model_copy(update={"model": replace(config.model, process=replace(config.model.process, **changes))})
        for changes in ({"steps": 7}, {"kind": "trigflow", "steps": 7})
    )
    open_run(tmp_path / "longer", longer, own, bundle)
    assert (tmp_path / "longer" / ORIGIN).exists()
    with pytest.raises(InputError, match=r"process .*'flow'.*'steps': 2.* and .*'trigflow'.*'steps': 7"):
        open_run(tmp_path / "arc", arc, own, bundle)
    assert not (tmp_path / "arc").exists()


def test_a_run_of_another_beginning_is_not_gone_on_with(config, bundle, own, tmp_path):
    open_run(tmp_path, config, own)
    with pytest.raises(InputError, match="did not start from"):
        open_run(tmp_path, config, own, bundle)
    assert origin_of(tmp_path) is None


def test_a_run_is_not_gone_on_with_without_some_of_its_own_patients(config, bundle, own, tmp_path):
    open_run(tmp_path / "run", config, own, bundle)
    open_run(tmp_path / "run", config, own)
    fewer = tiny_store(tmp_path / "fewer", {name: split for name, split in OWN.items() if name != "g"}, seed=5)
    with pytest.raises(InputError, match=r"begun with other patients .*\(0 new, 1 missing\)"):
        open_run(tmp_path / "run", config, fewer)
    path = tmp_path / "run" / ORIGIN
    begun = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({name: each for name, each in begun.items() if name != "patients"}), encoding="utf-8")
    open_run(tmp_path / "run", config, own, bundle)  # one of before they were noted


def test_a_damaged_beginning_stops_the_run(config, bundle, own, tmp_path):
    open_run(tmp_path, config, own, bundle)
    (tmp_path / ORIGIN).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=f"{ORIGIN}: cannot be read"):
        tiny_runner(config, "alignment", own, tmp_path)


def test_the_command_line_fine_tunes(config, bundle, own, tmp_path, capsys):
    from clsdm_trainer.recipe import save_config

    save_config(config, tmp_path / "recipe.yaml")
    base = ["--preset", str(tmp_path / "recipe.yaml"), "--store", str(own.folder), "--run", str(tmp_path / "run")]
    assert main(["alignment", *base, "--init", str(bundle.path), "--device", "cpu"]) == 0
    assert origin_of(tmp_path / "run").sha256 == bundle.hash
    shutil.rmtree(tmp_path / "run")
    assert main(["alignment", *base, "--init", str(tmp_path / "nothing"), "--device", "cpu"]) == 2
    assert "nothing" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_stage_that_was_cut_before_its_first_validation_is_not_exported_as_the_bundle_it_started_from(
    bundle, own, tmp_path
):
    config = tiny_config(steps=4, validate_every=4, checkpoint_every=1)
    open_run(tmp_path, config, own, bundle)
    runner = tiny_runner(config, "alignment", own, tmp_path)
    runner.run(lambda: runner.progress.step >= 2)
    with pytest.raises(InputError, match="was begun in this run, go on with it"):
        export_bundle(config, tmp_path, own, tmp_path / "bundle", about=ABOUT)
    assert not (tmp_path / "bundle").exists()


def coarse_bundle(folder: Path, **condition: object) -> Bundle:
    """A model on half the grid of ``PYRAMID``, whose estimate is what that one begins with."""
    own = {**PYRAMID["condition"], "fine": [], **condition}
    halved = {"grid": {"size": 8, "spacing_mm": 48.0}, "autoencoder": MODEL["autoencoder"], "condition": own}
    model = tiny_config(model={**PYRAMID, **halved}).model
    manifest = Manifest(
        SCHEMA, "coarse", "1", "none", WINDOW_HU, model, "float32", trained_patients=(patient_mark("z"),)
    )
    torch.manual_seed(3)
    weights = {name: value + 0.02 * torch.randn(value.shape) for name, value in CLSDM(model).state_dict().items()}
    return write_bundle(folder, manifest, weights, "card", {})


def test_a_model_grows_from_one_on_half_the_grid(own, tmp_path):
    config, coarse = tiny_config(steps=2, validate_every=1, model=PYRAMID), coarse_bundle(tmp_path / "coarse")
    open_run(tmp_path / "run", config, own, coarse)
    with pytest.raises(InputError, match="'autoencoder' must be finished first"):
        tiny_runner(config, "alignment", own, tmp_path / "run")
    train(config, own, tmp_path / "run", "autoencoder")
    runner = tiny_runner(config, "alignment", own, tmp_path / "run")
    xrays = runner.validation[0].xrays
    with torch.no_grad():
        expected = coarse.model().condition(*xrays)[0]
        assert torch.allclose(runner.stage.condition.coarse(*xrays), expected, atol=1e-6)
        assert expected.std() > 0.01
    train(config, own, tmp_path / "run", "alignment", "diffusion")
    grown = export_bundle(config, tmp_path / "run", own, tmp_path / "bundle", about=ABOUT)
    assert patient_mark("z") in grown.manifest.trained_patients
    card = (tmp_path / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"Its coarse estimate was trained further from coarse, version 1 (weights {coarse.hash})" in card


def test_one_with_another_coarse_estimate_is_not_grown_from(own, tmp_path):
    config, other = tiny_config(model=PYRAMID), coarse_bundle(tmp_path / "coarse", features=8)
    with pytest.raises(InputError, match="or those of the recipe's coarse estimate"):
        open_run(tmp_path / "run", config, own, other)
    assert not (tmp_path / "run").exists()
