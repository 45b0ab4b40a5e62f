"""The shipped recipes: each loads, builds, and has the sizes that are announced for it."""

from dataclasses import replace

import pytest
import torch

from clsdm.geometry.view import PRESETS
from clsdm.model.blocks import VoxelNorm
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.xray.preprocess import cameras_for
from clsdm_trainer.initial import grows
from clsdm_trainer.recipe import RunConfig, load_config, preset_names

MILLION = 1e6


def built(config: ModelConfig) -> CLSDM:
    """The networks without memory or arithmetic."""
    with torch.device("meta"):
        return CLSDM(config)


def millions(model: CLSDM) -> dict[str, float]:
    """Parameters of the three stages."""
    parts = {"autoencoder": model.autoencoder, "condition": model.condition, "denoiser": model.denoiser}
    return {name: sum(p.numel() for p in part.parameters()) / MILLION for name, part in parts.items()}


def test_the_recipes_are_shipped():
    assert preset_names() == ["body128", "body64", "openkbp64", "reference", "x2ct128"]


@pytest.mark.parametrize("name", preset_names())
def test_every_recipe_builds_networks_that_fit_each_other(name, record_property):
    config = load_config(name)
    assert config.name == name
    model = built(config.model)
    for part, count in millions(model).items():
        record_property(f"{part}_million_parameters", round(count, 2))
        assert count > 0.5
    assert model.config.latent_size * config.model.autoencoder.factor == config.model.grid.size
    for finest, widths in (
        (config.model.grid.size // config.model.condition.fold, config.model.condition.channels),
        (model.config.latent_size // config.model.denoiser.patch, config.model.denoiser.channels),
    ):
        assert finest % 2 ** (len(widths) - 1) == 0  # halved once less than it has widths
    volume = model.decode(torch.empty(1, *model.latent_shape, device="meta"))
    assert volume.shape == (1, 1, *[config.model.grid.size] * 3)
    channels = 2 * model.latent_shape[0] + config.model.condition.condition_channels
    state = torch.empty(1, channels, *model.latent_shape[1:], device="meta")
    assert model.denoiser(state, torch.empty(1, device="meta")).shape == (1, *model.latent_shape)


@pytest.mark.parametrize("name", preset_names())
def test_every_recipe_can_be_trained(name):
    config = load_config(name)
    assert config.alignment.batch >= 2  # contrast needs negatives
    assert set(config.augment.presets) <= set(PRESETS)
    assert all(1 <= views <= 8 for views in config.augment.view_counts)
    for stage in (config.autoencoder, config.alignment, config.diffusion):
        assert stage.optimiser.warmup_steps < stage.steps
    start = config.autoencoder.adversarial_start
    assert start is None or start < config.autoencoder.steps


@pytest.mark.parametrize("name", ["body128", "body64", "openkbp64", "x2ct128"])
def test_our_denoisers_see_the_time_at_every_resolution(name):
    """A GroupNorm over single channels would take the time embedding out again, as it does in the published shape."""
    model = built(load_config(name).model)
    assert all(isinstance(level.block.norm2, VoxelNorm) for level in (*model.denoiser.down, *model.denoiser.up))


def test_the_reference_has_the_published_sizes():
    """docs/method.md, 1."""
    config = load_config("reference")
    model = built(config.model)
    assert millions(model)["autoencoder"] == pytest.approx(40.7, abs=0.05)
    assert (config.model.grid.size, config.model.grid.spacing_mm) == (128, 2.5)
    assert model.latent_shape == (4, 16, 16, 16)
    assert config.model.condition.lift == "parallel"
    assert config.model.condition.condition_channels == 16
    assert config.model.denoiser.channels == (32, 64, 96, 128)
    assert all(config.model.denoiser.attention)
    assert {level.attention.heads for level in model.denoiser.down} == {4, 8, 12, 16}  # of 8 channels
    process = config.model.process
    assert (process.kind, process.steps, process.train_steps) == ("ddpm", 50, 1000)
    assert (process.beta_start, process.beta_end) == (0.0015, 0.0155)


def test_the_reference_has_the_published_optimisers():
    config = load_config("reference")
    rates = [stage.optimiser.lr for stage in (config.autoencoder, config.alignment, config.diffusion)]
    assert rates == [1e-4, 3e-5, 5e-5]
    assert config.autoencoder.optimiser.betas == (0.5, 0.9)
    assert (config.autoencoder.batch, config.autoencoder.adversarial_start) == (8, 5000)
    assert config.autoencoder.adversarial_weight == 0.5
    assert config.diffusion.batch * config.diffusion.accumulate == 32
    assert (config.diffusion.ema, config.diffusion.loss, config.alignment.temperature) == (0.9999, "l1", 0.1)
    assert config.autoencoder.kl_weight * 128**3 == pytest.approx(1e-4, rel=0.01)


def test_x2ct128_is_ours_at_the_published_grid():
    ours, reference = load_config("x2ct128"), load_config("reference")
    assert ours.model.grid == reference.model.grid
    assert ours.data.placement == reference.data.placement == "x2ct"
    assert built(ours.model).latent_shape == (8, 32, 32, 32)
    assert ours.model.condition.lift == "geometry"
    assert (ours.model.process.kind, ours.model.process.noise) == ("trigflow", "error")
    assert (ours.model.denoiser.gate, ours.model.autoencoder.stem) == (True, "space-to-depth")
    assert 4 <= ours.model.process.steps <= 6


def test_body128_holds_a_wide_patient_and_never_mirrors_the_heart():
    config = load_config("body128")
    assert (config.model.grid.size, config.model.grid.spacing_mm, config.model.grid.cube_mm) == (128, 3.0, 384.0)
    assert config.augment.flip_probability == 0.0
    assert max(config.augment.presets, key=config.augment.presets.get) == "chest"


def test_body128_grows_from_body64():
    assert grows(load_config("body64").model, load_config("body128").model)


@pytest.mark.parametrize("name", ["body128", "x2ct128"])
def test_no_convolution_of_a_128_runs_at_full_resolution(name):
    """What its speed rests on."""
    model, sizes = built(load_config(name).model), []
    for module in model.autoencoder.decoder.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda *call: sizes.append(call[2].shape[-1]))
    model.decode(torch.empty(1, *model.latent_shape, device="meta"))
    assert max(sizes) == 64


def test_a_shrunken_recipe_reconstructs():
    """x2ct128 with an eighth of the grid runs through all its networks."""
    config: RunConfig = load_config("x2ct128")
    small = replace(config.model, grid=replace(config.model.grid, size=16, spacing_mm=20.0))
    model = CLSDM(small).eval()
    views = [[PRESETS["x2ct"].view(angle) for angle in (0.0, 90.0)]]
    with torch.no_grad():
        condition = model.align(
            torch.zeros(1, 2, 2, small.detector.size, small.detector.size), cameras_for(views, small.detector)
        )
        drawn = model.draw(condition, torch.zeros(1, *model.noise_shape))
        assert model.decode(drawn).shape == (1, 1, 16, 16, 16)
