"""A run from store to three stages: what is handed on, what is refused, what is left in the folder."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny import MARGIN, SPLIT_OF, STAGE_NAMES, cpu_fabric, differences, tiny_config, tiny_runner, tiny_store, train

from clsdm.errors import InputError
from clsdm.model.bundle import patient_mark
from clsdm.model.clsdm import CLSDM
from clsdm.model.noise import ErrorStatistics
from clsdm.model.schedule import ProcessConfig
from clsdm.volume.hu import hu_to_unit
from clsdm_trainer.batches import fixed_batches
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.checks import check_precision, check_store
from clsdm_trainer.config import PlacementConfig
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import BEST, CHECKPOINT
from clsdm_trainer.precision import usable
from clsdm_trainer.recipe import load_config
from clsdm_trainer.run import CONFIG, ENVIRONMENT, load_stage, open_run, seen_patients, selected_patients, train_stage
from clsdm_trainer.stages import STAGES, AlignmentStage, AutoencoderStage
from clsdm_trainer.stages.autoencoder import block_statistics


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All three stages, trained for two steps each."""
    folder = tmp_path_factory.mktemp("run")
    assert train(tiny_config(steps=2), store, folder, *STAGE_NAMES)
    return folder


def test_a_later_stage_starts_from_the_best_weights_of_the_earlier_ones(run, store):
    runner = tiny_runner(tiny_config(steps=2), "diffusion", store, run)
    for name, part in (("autoencoder", "autoencoder"), ("alignment", "condition")):
        best = load_state(run / name / BEST)["weights"]
        own = runner.stage.model.get_submodule(part).state_dict()
        assert own
        assert all(torch.equal(best[f"{part}.{key}"], value) for key, value in own.items())


def test_earlier_stages_stay_frozen(run, store):
    runner = tiny_runner(tiny_config(steps=4), "diffusion", store, run)
    model = runner.stage.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    runner.progress.step = 2
    runner.step(2)
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith("denoiser.") for name in moved)
    assert not any(
        parameter.requires_grad for parameter in [*model.autoencoder.parameters(), *model.condition.parameters()]
    )


def test_a_finished_stage_is_not_trained_again(run, store):
    before = load_state(run / "autoencoder" / CHECKPOINT)
    assert train(tiny_config(steps=2), store, run, "autoencoder")
    after = load_state(run / "autoencoder" / CHECKPOINT)
    for name, value in before["players"]["autoencoder"].items():
        assert torch.equal(value, after["players"]["autoencoder"][name])


@pytest.mark.parametrize("name", ["alignment", "diffusion"])
def test_a_stage_without_the_one_before_it_is_refused(name, store, tmp_path):
    with pytest.raises(InputError, match="stage 'autoencoder' must be finished first, it has not been begun"):
        tiny_runner(tiny_config(), name, store, tmp_path)


def test_a_stage_that_was_cut_is_named_with_where_it_stands(store, tmp_path):
    runner = tiny_runner(tiny_config(steps=4), "autoencoder", store, tmp_path)
    runner.run(lambda: runner.progress.step >= 1)
    with pytest.raises(InputError, match="stage 'autoencoder' must be finished first, it stands at step 1"):
        tiny_runner(tiny_config(steps=4), "alignment", store, tmp_path)


@pytest.mark.parametrize(
    ("later", "product"), [("diffusion", AutoencoderStage.product), ("diffusion", AlignmentStage.product)]
)
def test_a_stage_does_not_start_without_what_an_earlier_one_measured(later, product, store, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / product).unlink()
    with pytest.raises(InputError, match=rf"{product}: missing; run stage '\w+' to its end, which measures it"):
        tiny_runner(tiny_config(steps=2), later, store, tmp_path / "run")
    name = "autoencoder" if product == AutoencoderStage.product else "alignment"
    assert train(tiny_config(steps=2), store, tmp_path / "run", name), "the way on: nothing is trained again"
    assert differences(load_state(run / product), load_state(tmp_path / "run" / product)) == []


@pytest.mark.parametrize(
    ("file", "way"),
    [
        (f"autoencoder/{BEST}", "move .* away and train stage 'autoencoder' again"),
        (AutoencoderStage.product, "move it away and run stage 'autoencoder' again, which measures it anew"),
    ],
)
def test_damaged_files_of_an_earlier_stage_are_named_with_the_way_on(file, way, store, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / file
    data = path.read_bytes()
    path.write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    with pytest.raises(InputError, match=rf"not a usable checkpoint \(damaged: .*\); {way}"):
        tiny_runner(tiny_config(steps=2), "alignment", store, tmp_path / "run")


def test_a_checkpoint_of_another_recipe_is_refused(store, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    other = tiny_config(steps=2, model={"autoencoder": {"channels": [12], "latent_channels": 4}})
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: does not belong to this recipe"):
        tiny_runner(other, "autoencoder", store, tmp_path / "run")


def test_time_that_is_up_cuts_a_stage_without_finishing_it(store, tmp_path):
    config = tiny_config()
    fabric = cpu_fabric(config, "autoencoder")
    assert not train_stage(config, AutoencoderStage, store, tmp_path, fabric, lambda record: None, minutes=0.0)
    assert load_state(tmp_path / "autoencoder" / CHECKPOINT)["progress"]["step"] == 0
    assert not (tmp_path / AutoencoderStage.product).exists()


def test_initial_weights_follow_from_the_seed(store, tmp_path):
    weights = []
    for seed, disturb in ((0, 5), (0, 6), (1, 5)):
        torch.manual_seed(disturb)
        runner = tiny_runner(tiny_config(seed=seed), "autoencoder", store, tmp_path / f"{seed}-{disturb}")
        weights.append(runner.kept.state_dict()["autoencoder.encoder.stem.weight"])
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_residuals_are_measured_per_channel_on_the_validation_patients(run, store):
    model = CLSDM(tiny_config().model)
    for name in ("autoencoder", "alignment"):
        load_stage(model, run, STAGES[name])
    with torch.no_grad():
        (batch,) = fixed_batches(store, model.config, "val", 2, torch.device("cpu"))
        residual = model.encode(batch.unit) - model.align(*batch.xrays).mean
    torch.testing.assert_close(
        load_state(run / AlignmentStage.product)["std"], residual.square().mean((0, 2, 3, 4)).sqrt()
    )
    assert torch.equal(model.residual_std, load_state(run / AlignmentStage.product)["std"])


def test_noise_is_made_of_the_errors_on_the_validation_patients_and_of_nothing_else(run, store):
    process = ProcessConfig("trigflow", "error")
    model = CLSDM(replace(tiny_config().model, process=process))
    for name in ("autoencoder", "alignment"):
        load_stage(model, run, STAGES[name])
    with torch.no_grad():
        (batch,) = fixed_batches(store, model.config, "val", 2, torch.device("cpu"))
        estimate = model.condition(*batch.xrays)[0].clamp(-1.0, 1.0)
    statistics = ErrorStatistics(model.config.grid.size)
    statistics.add_scale(estimate, batch.unit - estimate, batch.known)
    statistics.add_spectrum(estimate, batch.unit - estimate, batch.known)
    torch.testing.assert_close(model.error_scale, statistics.scale)
    torch.testing.assert_close(model.error_spectrum, statistics.spectrum)
    measured = load_state(run / AlignmentStage.product)
    earlier = {name: value for name, value in measured.items() if name != "error_scale"}
    with pytest.raises(InputError, match=r"residuals\.safetensors: holds no error_scale, of which its noise is made"):
        AlignmentStage.restore(model, earlier)


def test_loading_a_stage_gives_the_model_its_latent_statistics(run):
    model = CLSDM(tiny_config().model)
    load_stage(model, run, AutoencoderStage)
    measured = load_state(run / AutoencoderStage.product)
    assert torch.equal(model.latent_mean, measured["mean"])
    assert torch.equal(model.latent_std, measured["std"])
    assert not torch.equal(model.latent_std, torch.ones_like(model.latent_std))


def test_a_store_for_another_grid_margin_or_placement_is_refused(store):
    config = tiny_config()
    check_store(store, config)
    other_grid = config.model_copy(update={"model": load_config("openkbp64").model})
    with pytest.raises(InputError, match=r"prepared for Grid\(size=16"):
        check_store(store, other_grid)
    for wrong in ({"margin": MARGIN + 1}, {"margin": MARGIN, "placement": "x2ct"}):
        with pytest.raises(InputError, match=r"prepared with .*the recipe tiny needs"):
            check_store(store, config.model_copy(update={"data": PlacementConfig(**wrong)}))


@pytest.mark.parametrize("missing", ["train", "val"])
def test_a_store_without_a_split_that_is_needed_is_refused(missing, tmp_path):
    some = {name: split for name, split in SPLIT_OF.items() if split != missing}
    with pytest.raises(InputError, match=f"no case in split '{missing}'"):
        check_store(tiny_store(tmp_path, some), tiny_config())


def test_auxiliary_scans_are_enough_to_learn_from(tmp_path):
    check_store(tiny_store(tmp_path, {"a": "auxiliary", "b": "val"}), tiny_config())


def test_a_run_saves_its_recipe_and_environment_and_refuses_another_recipe(tmp_path):
    config = tiny_config()
    open_run(tmp_path / "run", config)
    open_run(tmp_path / "run", config)  # the same again is welcome
    assert load_config(str(tmp_path / "run" / CONFIG)) == config
    environment = json.loads((tmp_path / "run" / ENVIRONMENT).read_text())
    assert environment["packages"]["torch"].startswith(torch.__version__.split("+")[0])
    assert {"python", "git_revision", "platform"} <= environment.keys()
    with pytest.raises(InputError, match="another configuration"):
        open_run(tmp_path / "run", tiny_config(seed=1))


def test_a_new_run_names_the_patients_that_training_can_see_and_no_other(tmp_path):
    open_run(tmp_path / "run", tiny_config(), tiny_store(tmp_path / "store"))
    seen = {patient_mark(f"patient-{name}") for name, split in SPLIT_OF.items() if split != "test"}
    assert set(seen_patients(tmp_path / "run")) == seen
    assert selected_patients(tmp_path / "run") == [patient_mark("patient-d")]
    open_run(tmp_path / "bare", tiny_config())
    with pytest.raises(InputError, match=r"patients\.json"):
        seen_patients(tmp_path / "bare")


@pytest.mark.parametrize(
    "changes",
    [{"f": "train"}, {"c": "test"}, {"e": "train", "a": "test"}],
    ids=["one more", "one less", "one exchanged"],
)
def test_a_run_goes_on_with_its_own_patients_only(changes, tmp_path):
    open_run(tmp_path / "run", tiny_config(), tiny_store(tmp_path / "store"))
    open_run(tmp_path / "run", tiny_config(), tiny_store(tmp_path / "again", seed=2))  # the same patients
    other = tiny_store(tmp_path / "other", {**SPLIT_OF, **changes})
    with pytest.raises(InputError, match="begun with other patients"):
        open_run(tmp_path / "run", tiny_config(), other)


@pytest.mark.parametrize(("name", "accepted"), [("alignment", True), ("diffusion", False)])
def test_levels_whose_gradients_torch_gets_wrong_are_refused(name, accepted, monkeypatch):
    """The published denoiser goes from 16³ down to 2³: on a CPU it trains in float32 only."""
    monkeypatch.setattr("clsdm_trainer.precision.has_fast_bfloat16", lambda device: True)
    config = load_config("reference")
    if accepted:
        check_precision(config, STAGES[name], torch.device("cpu"))
        return
    with pytest.raises(InputError, match=r"diffusion\.precision: bf16-mixed on a CPU .* goes down to 2³"):
        check_precision(config, STAGES[name], torch.device("cpu"))
    check_precision(config, STAGES[name], torch.device("cuda"))
    single = config.diffusion.model_copy(update={"precision": "32-true"})
    check_precision(config.model_copy(update={"diffusion": single}), STAGES[name], torch.device("cpu"))


def test_where_the_processor_would_imitate_bfloat16_training_runs_in_float32(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    for features, expected in (
        ({"architecture": "x86_64", "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"architecture": "x86_64", "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"architecture": "arm64"}, "bf16-mixed"),
        ({}, "bf16-mixed"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda features=features: features, raising=False)
        assert usable("bf16-mixed", cpu) == expected
        assert (usable("bf16-mixed", gpu), usable("32-true", cpu)) == ("bf16-mixed", "32-true")
    monkeypatch.setattr("clsdm_trainer.precision.has_fast_bfloat16", lambda device: False)
    check_precision(load_config("reference"), STAGES["diffusion"], cpu)


def test_the_autoencoder_starts_as_principal_components_of_blocks(store):
    model = CLSDM(tiny_config().model)
    factor = model.config.autoencoder.factor
    mean, covariance = block_statistics(store, factor)
    with torch.no_grad():
        model.autoencoder.start_from_blocks(mean, covariance)
        unit = hu_to_unit(store.stack("train").float())[:, None]
        unit = unit[:, :, MARGIN:-MARGIN, MARGIN:-MARGIN, MARGIN:-MARGIN]
        lost = (model.autoencoder(unit)[0] - unit).square().mean()
    discarded = torch.linalg.eigvalsh(covariance)[: -model.latent_shape[0]].sum() / factor**3
    assert float(lost) == pytest.approx(float(discarded), rel=1e-3)


def test_the_estimate_is_projected_only_at_every_so_many_steps(store, run, tmp_path):
    config = tiny_config(steps=2)
    config = config.model_copy(update={"alignment": config.alignment.model_copy(update={"project_every": 2})})
    (tmp_path / "run").mkdir()
    for name in ("autoencoder", AutoencoderStage.product):
        source = run / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / "run" / name)
    runner = tiny_runner(config, "alignment", store, tmp_path / "run")
    terms = [runner.step(step) for step in range(2)]
    assert "alignment/consistency" in terms[0]
    assert "alignment/consistency" not in terms[1]
    assert "alignment/voxel" in terms[1]
