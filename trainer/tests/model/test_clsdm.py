"""The assembled model: latents normalised by stored statistics, and deterministic draws."""

import math
from dataclasses import replace

import pytest
import torch
from small_bundle import CONFIG, cameras_at, randomised

from clsdm.model.autoencoder import AutoencoderConfig
from clsdm.model.clsdm import CLSDM
from clsdm.model.condition import Condition
from clsdm.model.denoiser import UNet3D, UNetConfig
from clsdm.model.schedule import ProcessConfig
from clsdm.volume.ct import Grid

TINY = replace(CONFIG, process=ProcessConfig("flow", source_noise=0.5, steps=3))


@pytest.fixture
def model() -> CLSDM:
    return randomised(CLSDM(TINY))


def condition_like(model: CLSDM, batch: int = 2) -> Condition:
    shape = model.latent_shape
    estimate = torch.rand(batch, 1, *[TINY.grid.size] * 3) * 2 - 1
    return Condition(torch.randn(batch, 4, *shape[1:]), torch.randn(batch, *shape), estimate)


def test_the_latent_grid_is_the_ct_grid_over_the_autoencoders_factor(model):
    assert (TINY.latent_size, model.latent_shape) == (4, (4, 4, 4, 4))
    published = replace(TINY, grid=Grid(128, 2.5), autoencoder=AutoencoderConfig("conv", (32, 64, 128, 256)))
    assert (published.autoencoder.factor, published.latent_size) == (8, 16)
    assert model.encode(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 4, 4, 4, 4)


@torch.no_grad()
def test_latents_have_the_stored_mean_and_deviation_taken_out(model):
    """Statistics of a set of volumes, stored, make the latents of that set zero-mean and unit-variance."""
    volumes = torch.rand(6, 1, 16, 16, 16) * 2 - 1
    raw = model.autoencoder.encode(volumes).mean
    model.latent_mean.copy_(raw.mean((0, 2, 3, 4)))
    model.latent_std.copy_(raw.std((0, 2, 3, 4)))
    latents = model.encode(volumes)
    torch.testing.assert_close(latents.mean((0, 2, 3, 4)), torch.zeros(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std((0, 2, 3, 4)), torch.ones(4), atol=1e-4, rtol=0)


@torch.no_grad()
def test_decoding_puts_the_statistics_back(model):
    volumes = torch.rand(2, 1, 16, 16, 16) * 2 - 1
    plain = model.autoencoder(volumes)[0]
    model.latent_mean.copy_(torch.tensor([0.3, -2.0, 0.1, 5.0]))
    model.latent_std.copy_(torch.tensor([0.2, 3.0, 1.0, 0.01]))
    torch.testing.assert_close(model.decode(model.encode(volumes)), plain, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("process", [TINY.process, ProcessConfig("ddpm", steps=4)])
@torch.no_grad()
def test_the_same_noise_draws_the_same_bits_and_other_noise_another_sample(process):
    model = randomised(CLSDM(replace(TINY, process=process)))
    condition, noise = condition_like(model), torch.randn(2, *model.latent_shape)
    first = model.draw(condition, noise)
    assert torch.equal(first, model.draw(condition, noise))
    assert not torch.allclose(first, model.draw(condition, torch.randn_like(noise)))


@torch.no_grad()
def test_a_draw_depends_on_what_the_xrays_say(model):
    noise = torch.randn(1, *model.latent_shape)
    condition = condition_like(model, 1)
    features = replace(condition, features=torch.randn_like(condition.features))
    mean = replace(condition, mean=condition.mean + 1.0)
    drawn = model.draw(condition, noise)
    assert not torch.allclose(drawn, model.draw(features, noise))
    assert not torch.allclose(drawn, model.draw(mean, noise))


@torch.no_grad()
def test_an_untrained_flow_adds_its_source_noise_to_the_aligned_mean():
    """Its last layer starts at zero: no velocity yet."""
    model = CLSDM(TINY).eval()
    condition, noise = condition_like(model), torch.randn(2, *model.latent_shape)
    torch.testing.assert_close(model.draw(condition, noise), condition.mean + 0.5 * noise)


@torch.no_grad()
def test_the_noise_has_the_scale_of_the_residual():
    """Each channel starts as far from its mean as it was found to lie, in training as in sampling."""
    model = CLSDM(replace(TINY, process=ProcessConfig("flow", steps=3))).eval()
    model.residual_std.copy_(torch.tensor([0.1, 0.2, 0.4, 0.8]))
    condition, noise = condition_like(model), torch.randn(2, *model.latent_shape)
    scaled = noise * model.residual_std.view(1, 4, 1, 1, 1)
    torch.testing.assert_close(model.draw(condition, noise), condition.mean + scaled)
    torch.testing.assert_close(model.start(condition, noise), scaled)


@torch.no_grad()
def test_noise_like_the_errors_is_drawn_in_the_ct_and_encoded_with_the_estimate():
    model = CLSDM(replace(TINY, process=ProcessConfig("trigflow", "error", 0.5, steps=3))).eval()
    model.error_scale.fill_(0.2)
    assert model.noise_shape == (1, 16, 16, 16)
    condition = model.align(torch.rand(1, 2, 2, 32, 32), cameras_at(0.0, 90.0))
    noise = torch.randn(1, *model.noise_shape)
    start = model.start(condition, noise)
    noisy = condition.estimate.clamp(-1.0, 1.0) + 0.5 * 0.2 * noise  # a flat spectrum leaves it white
    torch.testing.assert_close(start, model.encode(noisy) - condition.mean)
    torch.testing.assert_close(model.draw(condition, noise), condition.mean + start)  # no velocity yet


@pytest.mark.parametrize(("kind", "length"), [("flow", 1.0), ("trigflow", math.pi / 2)])
@torch.no_grad()
def test_one_step_goes_the_whole_path_with_the_first_velocity(kind, length):
    model = randomised(CLSDM(replace(TINY, process=ProcessConfig(kind, "error"))))
    condition = model.align(torch.rand(1, 2, 2, 32, 32), cameras_at(0.0, 90.0)).repeated(2)
    noise = torch.randn(2, *model.noise_shape)
    start = model.start(condition, noise)
    velocity = model.denoise(start, torch.zeros(2), condition)
    assert float(velocity.std()) > 0.01
    drawn = model.draw(condition, noise, 1)
    torch.testing.assert_close(drawn, condition.mean + start + length * velocity)
    assert not torch.allclose(drawn[0], drawn[1])


def test_noise_like_the_errors_needs_the_estimate():
    with pytest.raises(
        ValueError, match=r"process\.noise: expected 'latent' with condition\.mean false, found 'error'"
    ):
        replace(TINY, process=ProcessConfig(noise="error"), condition=replace(TINY.condition, mean=False))
    with pytest.raises(ValueError, match="noise: expected 'latent' with kind 'ddpm', found 'error'"):
        ProcessConfig("ddpm", "error", steps=4)


@torch.no_grad()
def test_a_gated_denoiser_passes_on_what_its_width_cannot_carry():
    """With a gate of 1 and nothing else its prediction is the state, of 8 × 4 values in a patch through 2 channels."""
    sizes = UNetConfig(channels=(2, 2), attention=(False, False), head_width=2, patch=2, gate=True)
    denoiser = UNet3D(6, 4, sizes).eval()
    inputs, t = torch.randn(1, 6, 8, 8, 8), torch.zeros(1)
    assert not denoiser(inputs, t).any()
    denoiser.out[-1].bias[4 * 8 :] = 1.0
    torch.testing.assert_close(denoiser(inputs, t), inputs[:, :4])


@torch.no_grad()
def test_the_default_number_of_steps_is_the_models_and_can_be_changed(model):
    ticks = []
    condition, noise = condition_like(model), torch.randn(2, *model.latent_shape)
    model.draw(condition, noise, tick=lambda done, total: ticks.append((done, total)))
    model.draw(condition, noise, 1, lambda done, total: ticks.append((done, total)))
    assert ticks == [(1, 3), (2, 3), (3, 3), (1, 1)]


@torch.no_grad()
def test_the_denoiser_is_told_the_time_in_thousandths(model):
    """The discrete steps of the published diffusion, so that both processes share one time embedding."""
    seen = []
    model.denoiser.register_forward_pre_hook(lambda _, inputs: seen.append(inputs))
    condition = condition_like(model)
    x = torch.randn(2, *model.latent_shape)
    model.denoise(x, torch.tensor([0.25, 1.0]), condition)
    ((state, time),) = seen
    assert time.tolist() == [250.0, 1000.0]
    torch.testing.assert_close(state, torch.cat((x, condition.mean, condition.features), 1))


@torch.no_grad()
def test_xrays_become_a_condition_on_the_latent_grid(model):
    condition = model.align(torch.rand(1, 2, 2, 32, 32), cameras_at(0.0, 90.0))
    assert condition.features.shape == (1, 4, 4, 4, 4)
    assert condition.estimate.shape == (1, 1, 16, 16, 16)
    torch.testing.assert_close(condition.mean, model.encode(condition.estimate.clamp(-1.0, 1.0)))
    assert condition.mean.shape == (1, *model.latent_shape)


@torch.no_grad()
def test_a_denoiser_without_the_mean_has_the_aligned_features_alone() -> None:
    plain = randomised(CLSDM(TINY))
    model = CLSDM(replace(TINY, condition=replace(TINY.condition, mean=False))).eval()
    model.load_state_dict(plain.state_dict())
    xrays = (torch.rand(1, 2, 2, 32, 32), cameras_at(0.0, 90.0))
    found, expected = model.align(*xrays), plain.align(*xrays)
    assert not found.mean.any()
    assert expected.mean.any()
    assert torch.equal(found.features, expected.features)
    assert torch.equal(found.estimate, expected.estimate)
