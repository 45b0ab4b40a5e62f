"""The baselines' networks: sizes by their own derivation, frames, tiny overfits, and the loop that trains them."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from small_bundle import parameter_count
from tiny import GRID, checkpoint, differences, run_to, tiny_config, tiny_runner, tiny_store, train
from tiny_systems import EXACT, SMALL, SMALL_INRR, benchmark_config

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector, preset
from clsdm.model.clsdm import CLSDM
from clsdm.xray.preprocess import cameras_for, expose
from clsdm_bench.systems.biplanar import biplanar, replicated
from clsdm_bench.systems.inrr import INRR3CT, INRRConfig, Sine
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.stages import BaselineStage, JointStage
from clsdm_bench.systems.x2ct import FROM_VOLUME, TO_VOLUME, X2CT, X2CTConfig, X2CTDiscriminator, mean_projections
from clsdm_trainer.batches import Batch
from clsdm_trainer.config import StageConfig
from clsdm_trainer.losses import published_contrast
from clsdm_trainer.optim import learning_rate
from clsdm_trainer.recipe import changed
from clsdm_trainer.run import load_stage


def recipe(network: X2CTConfig | INRRConfig, *, adversarial: float = 0.0, **fields: object) -> BenchmarkConfig:
    """The tiny recipe with a baseline."""
    stage = tiny_config(**fields).diffusion.model_dump(include=set(StageConfig.model_fields))
    weights = {
        "adversarial_weight": adversarial,
        "projection_weight": 10.0 * bool(adversarial),
        "discriminator_channels": 4,
        "discriminator_layers": 1,
    }
    baseline = {**stage, "network": network.model_dump(mode="json"), **weights}
    return changed(benchmark_config(), {"baseline": baseline, "augment": EXACT})


# What the X-rays look like to them ------------------------------------------------------------------------------------


def views_of_a_voxel(z: int, y: int, x: int, angles_deg: tuple[float, ...]) -> tuple[torch.Tensor, Cameras]:
    """X-rays of one bright voxel in an 8³ cube, nearly parallel, on a detector that spans the cube."""
    volume = torch.zeros(1, 1, 8, 8, 8)
    volume[0, 0, z, y, x] = 1.0
    views = [[preset("chest").view(angle) for angle in angles_deg]]
    detector = Detector(8, 80.0)
    cameras = cameras_for(views, detector)
    images = project(volume, 10.0, cameras)
    return torch.stack((images, torch.ones_like(images)), dim=2), cameras


@pytest.mark.parametrize("angles_deg", [(0.0, 90.0), (90.0, 0.0), (180.0, 90.0), (0.0, -90.0), (270.0, 180.0)])
@pytest.mark.parametrize("place", [(6, 1, 2), (1, 5, 6)])
def test_a_bright_voxel_is_seen_where_it_is_whichever_side_the_views_are_from(place, angles_deg) -> None:
    frontal, lateral = biplanar(*views_of_a_voxel(*place, angles_deg))[0, :, 0]
    z, y, x = place
    assert divmod(int(frontal.argmax()), 8) == (z, x)
    assert divmod(int(lateral.argmax()), 8) == (z, y)


def test_replicated_views_meet_in_the_voxel_they_show() -> None:
    volume = replicated(biplanar(*views_of_a_voxel(6, 1, 2, (0.0, 90.0))), 8)[0]
    assert volume.shape == (2, 8, 8, 8)
    brightest = int(volume.prod(0).argmax())
    assert (brightest // 64, brightest // 8 % 8, brightest % 8) == (6, 1, 2)


@pytest.mark.parametrize("angles_deg", [(0.0,), (0.0, 180.0), (0.0, 45.0, 90.0)])
def test_other_views_than_one_frontal_and_one_lateral_are_refused(angles_deg) -> None:
    with pytest.raises(InputError, match="one frontal and one lateral"):
        biplanar(*views_of_a_voxel(4, 4, 4, angles_deg))


def test_the_two_frames_of_x2ct_are_undone_by_their_inverses() -> None:
    volume = torch.arange(24).view(1, 1, 2, 3, 4)
    for there, back in zip(FROM_VOLUME, TO_VOLUME, strict=True):
        assert torch.equal(volume.permute(there).permute(back), volume)
    frontal, lateral = (volume.permute(order) for order in FROM_VOLUME)
    assert frontal.shape[2:] == (3, 2, 4)  # (y, z, x)
    assert lateral.shape[2:] == (4, 2, 3)  # (x, z, y)


# Sizes ----------------------------------------------------------------------------------------------------------------


def x2ct_parameters(config: X2CTConfig) -> int:
    """Counted by hand from docs/method.md, 5: a norm has 2 values a channel, a convolution k^d in·out + out."""

    def step(inputs: int, outputs: int, taps: int) -> int:
        return 2 * inputs + taps * inputs * outputs + outputs

    widths, encoder = [config.stem], 49 * config.stem + config.stem
    for layers in config.layers:
        width = widths[-1]
        encoder += step(width, width, 9)
        for _ in range(layers):
            encoder += step(width, 4 * config.growth, 1) + step(4 * config.growth, config.growth, 9)
            width += config.growth
        encoder += step(width, width // 2, 1)
        widths.append(width // 2)
    channels = config.link or widths[-1]
    link = (widths[-1] * channels + channels) if config.link else 0
    link += (16 * channels + 1) * 64 * config.decoder[0]
    decoder = 0
    for (coarse, fine), image in zip(pairwise(config.decoder), reversed(widths[:-1]), strict=False):
        decoder += step(2 * coarse, fine, 1) + (image * fine + fine)
        decoder += step(2 * fine, fine, 27) + step(fine, fine, 27)
    return 2 * (encoder + link + decoder) + 343 * config.decoder[-1] + 1


@pytest.mark.parametrize(
    ("config", "ct_size", "image_size"),
    [(X2CTConfig(), 128, 128), (X2CTConfig(link=32, decoder=(256, 128, 64, 32, 16)), 64, 128), (SMALL, 16, 32)],
)
def test_x2ct_has_the_parameters_that_its_description_gives(config: X2CTConfig, ct_size: int, image_size: int) -> None:
    with torch.device("meta"):
        network = X2CT(config, ct_size, image_size)
    assert parameter_count(network) == x2ct_parameters(config)


def test_the_published_x2ct_has_the_published_widths() -> None:
    with torch.device("meta"):
        network = X2CT(X2CTConfig(), 128, 128)
    assert network.encoders[0].widths == [64, 128, 256, 512, 512, 352]
    assert [len(step[1].layers) for step in network.encoders[0].steps] == [6, 12, 24, 16, 6]
    assert network.links[0].linear.out_features == 256 * 4**3


def test_x2ct_refuses_sizes_that_do_not_lead_to_4() -> None:
    with pytest.raises(ValueError, match="dense blocks"):
        X2CT(SMALL, 16, 64)
    with pytest.raises(ValueError, match="decoder widths"):
        X2CT(SMALL, 32, 32)


def test_inrr3ct_has_the_parameters_that_its_description_gives() -> None:
    with torch.device("meta"):
        network = INRR3CT(INRRConfig(), 128, 128)

    def double(inputs: int, outputs: int) -> int:
        return 25 * (inputs + outputs) * outputs + 2 * outputs + 4 * outputs

    widths = (1, 64, 128, 256, 512)
    image = sum(double(i, o) for i, o in pairwise(widths))
    image += sum(coarse * fine + fine + double(2 * fine, fine) for fine, coarse in pairwise(widths[1:]))
    image += 64 * 128 + 128
    square = 128 * 128 + 128
    sines = (134 * 128 + 128) + 3 * 2 * square + 4 * square + 129
    assert parameter_count(network) == image + sines
    assert [layer.omega for layer in network.per_view.modules() if isinstance(layer, Sine)] == [50.0] * 7


def test_the_discriminator_sees_the_volume_and_both_x_rays() -> None:
    with torch.device("meta"):
        discriminator = X2CTDiscriminator(64)
    first = next(discriminator.parameters())
    assert first.shape == (64, 3, 4, 4, 4)


# Behaviour ------------------------------------------------------------------------------------------------------------


def blobs(count: int) -> Batch:
    """Random blurred cubes with their exact frontal and lateral X-rays, on a detector that spans the cube."""
    import numpy as np

    coarse = torch.rand(count, 1, 4, 4, 4, generator=torch.Generator().manual_seed(3))
    unit = torch.nn.functional.interpolate(coarse, size=(16, 16, 16), mode="trilinear") * 2.0 - 1.0
    views = [[preset("chest").view(angle) for angle in (0.0, 90.0)]] * count
    images, cameras = expose(unit + 1.0, GRID.spacing_mm, views, Detector(32, GRID.cube_mm))
    return Batch(unit, torch.ones_like(unit), images, cameras, [np.random.default_rng(index) for index in range(count)])


@pytest.mark.parametrize(
    ("make", "rate", "steps", "reached"),
    [(lambda: X2CT(SMALL, 16, 32), 3e-4, 120, 0.8), (lambda: INRR3CT(SMALL_INRR, 16, 32), 1e-3, 150, 0.8)],
    ids=["x2ct", "inrr3ct"],
)
def test_a_baseline_can_learn_two_volumes_by_heart(make, rate, steps, reached) -> None:
    network, batch = make(), blobs(2)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    variance = float((batch.unit - batch.unit.mean(0)).square().mean())  # what knowing only the mean would leave
    for _ in range(steps):
        estimate, truth = network.training_pair(batch)
        loss = (estimate - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        error = float((network(*batch.xrays) - batch.unit).square().mean())
    assert error < reached * variance  # so that it has read them


@pytest.mark.parametrize("make", [lambda: X2CT(SMALL, 16, 32), lambda: INRR3CT(SMALL_INRR, 16, 32)])
def test_the_order_of_the_views_does_not_matter(make) -> None:
    network, batch = make().eval(), blobs(1)
    images, cameras = batch.xrays
    swapped = cameras.each(lambda part: part.flip(1))
    with torch.no_grad():
        assert torch.equal(network(images, cameras), network(images.flip(1), swapped))


def test_a_point_of_inrr3ct_is_the_voxel_of_the_whole_volume() -> None:
    network, batch = INRR3CT(SMALL_INRR, 16, 32).eval(), blobs(1)
    with torch.no_grad():
        whole = network(*batch.xrays).flatten()
        maps = network.features(*batch.xrays)
        at = torch.tensor([5, 300, 4000])
        some = network.density(maps, network.all_points(maps.device)[:, at])
    torch.testing.assert_close(some[0], whole[at])


def test_the_projections_of_x2ct_gan_are_along_the_three_axes() -> None:
    unit = torch.arange(24.0).view(1, 1, 2, 3, 4)
    assert [tuple(p.shape[2:]) for p in mean_projections(unit)] == [(3, 4), (2, 4), (2, 3)]
    assert float(mean_projections(unit)[0][0, 0, 0, 0]) == 6.0  # of 0 and 12


def test_linear_decay_is_constant_for_the_first_half_and_zero_at_the_end() -> None:
    config = tiny_config(optimiser={"lr": 2.0, "warmup_steps": 0, "decay": "linear"}).diffusion.optimiser
    assert [learning_rate(config, step, 100) for step in (0, 50, 75, 100)] == pytest.approx([2.0, 2.0, 1.0, 0.0])


def test_the_published_contrast_is_zero_where_ours_is_not_but_for_the_squared_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.nn.functional.normalize(torch.randn(2, 8, 16, 16, 16, generator=generator), dim=1) for _ in range(2))
    mixed = 0.1 * a + b
    squared = 0.5 * (torch.nn.functional.normalize(mixed, dim=1) - a).square().mean()
    assert float(published_contrast(mixed, a, 0.1)) == pytest.approx(float(squared), abs=1e-6)
    worst = published_contrast(torch.cat((a[1:], a[:1])), a, 0.1)  # every volume takes the other's place
    assert float(worst) > 1000.0


# Training -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adversarial", [0.0, 0.1], ids=["cnn", "gan"])
def test_a_cut_baseline_goes_on_to_the_same_bits(adversarial: float, tmp_path: Path) -> None:
    store, config = tiny_store(tmp_path / "store"), recipe(SMALL, adversarial=adversarial)
    whole = tiny_runner(config, "baseline", store, tmp_path / "whole")
    assert run_to(whole, 6)
    assert not run_to(tiny_runner(config, "baseline", store, tmp_path / "cut"), 3)
    assert run_to(tiny_runner(config, "baseline", store, tmp_path / "cut"), 6)
    assert not differences(checkpoint(tmp_path / "whole", "baseline"), checkpoint(tmp_path / "cut", "baseline"))


def test_inrr3ct_trains_in_the_loop(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store")
    assert train(recipe(SMALL_INRR), store, tmp_path / "run", "baseline")
    assert (tmp_path / "run" / "baseline" / "best.safetensors").exists()


def test_the_joint_model_trains_its_own_encoder_and_never_the_autoencoder(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store")
    config = benchmark_config()
    config = changed(config, {"joint": config.diffusion.model_dump(mode="json"), "augment": EXACT})
    train(config, store, tmp_path / "run", "autoencoder")
    runner = tiny_runner(config, "joint", store, tmp_path / "run")
    model = runner.stage.model
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert run_to(runner, 6)
    moved = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"condition", "denoiser"}
    fresh = CLSDM(config.model)
    load_stage(fresh, tmp_path / "run", JointStage)
    kept = runner.ema.average
    assert torch.equal(fresh.condition.state_dict()["to_features.2.weight"], kept["condition.to_features.2.weight"])


def test_a_stage_without_its_section_is_refused() -> None:
    with pytest.raises(InputError, match="no section 'baseline'"):
        benchmark_config().section(BaselineStage)
