"""The networks: sizes, what each one sees, and that every part of them learns."""

from dataclasses import replace

import pytest
import torch
from small_bundle import PUBLISHED, TOLERANCE, cameras_at, parameter_count, randomised
from torch import Tensor, nn

from clsdm.geometry.cameras import Cameras, voxel_axis, voxel_centres
from clsdm.geometry.lift import lift_rays
from clsdm.model.autoencoder import Autoencoder, AutoencoderConfig, Posterior
from clsdm.model.blocks import (
    Attention,
    ResBlock2D,
    ResBlock3D,
    VoxelNorm,
    channels_last,
    depth_to_space,
    norm,
    space_to_depth,
)
from clsdm.model.condition import ConditionConfig, ConditionNet
from clsdm.model.denoiser import UNet3D, UNetConfig

# The autoencoder -----------------------------------------------------------------------------------------------------


def test_the_published_autoencoder_has_40_7_million_parameters():
    config = AutoencoderConfig("conv", (32, 64, 128, 256), 2, 4, **PUBLISHED)
    with torch.device("meta"):
        published = Autoencoder(config)
    assert parameter_count(published) == 40_699_909
    assert published.decode(torch.empty(1, 4, 2, 2, 2, device="meta")).shape == (1, 1, 16, 16, 16)


@pytest.mark.parametrize("factor", [2, 4])
def test_space_to_depth_and_back_is_the_identity(factor):
    x = torch.randn(2, 3, 2 * factor, factor, 3 * factor)
    folded = space_to_depth(x, factor)
    assert folded.shape == (2, 3 * factor**3, 2, 1, 3)
    assert torch.equal(depth_to_space(folded, factor), x)


def test_space_to_depth_orders_each_block_as_z_y_x():
    """The order in which ``start_from_blocks`` and stored models expect it."""
    folded = space_to_depth(torch.arange(8.0).view(1, 1, 2, 2, 2))
    assert folded.flatten().tolist() == list(range(8))


AUTOENCODERS = {
    "ours": AutoencoderConfig(channels=(24, 24), latent_channels=4),
    "published": AutoencoderConfig("conv", (24, 24, 24), 1, 4, **PUBLISHED),
}
AUTOENCODER_CASES = pytest.mark.parametrize("config", AUTOENCODERS.values(), ids=list(AUTOENCODERS))


@AUTOENCODER_CASES
def test_latents_lie_on_a_grid_coarser_by_the_factor(config):
    network = randomised(Autoencoder(config))
    estimate, posterior = network(torch.randn(2, 1, 16, 16, 16))
    assert config.factor == 4
    assert posterior.mean.shape == posterior.log_variance.shape == (2, 4, 4, 4, 4)
    assert estimate.shape == (2, 1, 16, 16, 16)


@AUTOENCODER_CASES
def test_every_parameter_of_the_autoencoder_learns(config):
    network = randomised(Autoencoder(config))
    estimate, posterior = network(torch.randn(1, 1, 16, 16, 16), torch.randn(1, 4, 4, 4, 4))
    (estimate.square().mean() + posterior.kl()).backward()
    assert_all_learn(network)


@torch.no_grad()
def test_blocks_in_the_span_of_the_principal_components_survive_the_untrained_round_trip():
    """With as many directions as latent channels, and unit-variance latents."""
    network = Autoencoder(AUTOENCODERS["ours"]).eval()
    basis, offset = torch.randn(64, 4), torch.randn(64)
    network.start_from_blocks(offset, basis @ basis.T)
    codes = torch.randn(2, 4, 6, 6, 6)
    blocks = torch.einsum("vc,bczyx->bvzyx", basis, codes) + offset.view(1, -1, 1, 1, 1)
    volumes = depth_to_space(blocks, 4)
    estimate, posterior = network(volumes)
    torch.testing.assert_close(estimate, volumes, atol=1e-3, rtol=1e-3)
    assert posterior.mean.std().item() == pytest.approx(1.0, abs=0.1)
    assert float(posterior.log_variance.max()) < -5.0


def test_start_from_blocks_needs_the_shortcut():
    with pytest.raises(ValueError, match="shortcut=True"):
        Autoencoder(AUTOENCODERS["published"]).start_from_blocks(torch.zeros(64), torch.eye(64))


def test_the_divergence_of_a_posterior_is_that_of_two_gaussians():
    mean, log_variance = torch.randn(2, 3, 2, 2, 2), torch.randn(2, 3, 2, 2, 2)
    posterior = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    exact = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).flatten(1).sum(1).mean()
    torch.testing.assert_close(Posterior(mean, log_variance).kl(), exact)
    noise = torch.randn_like(mean)
    torch.testing.assert_close(Posterior(mean, log_variance).sample(noise), mean + noise * posterior.scale)


# The condition network -----------------------------------------------------------------------------------------------

CONDITION = ConditionConfig(
    image_channels=(24, 24), features=8, channels=(24, 24), condition_channels=4, contrast_channels=8
)
ANGLES_DEG = (0.0, 90.0, 45.0, 180.0, -90.0, -45.0, 20.0, 110.0)


def some_images(views: int) -> Tensor:
    """(1, V, 2, 32, 32) with a collimated border."""
    images = torch.rand(1, views, 2, 32, 32) * 2 - 1
    images[:, :, 1] = 0.0
    images[:, :, 1, 3:29, 5:27] = 1.0
    return images


@pytest.fixture
def network() -> ConditionNet:
    return randomised(ConditionNet(CONDITION, 16, 384.0, 4), std=0.2)


def lifted_features(network: ConditionNet, images: Tensor, cameras: Cameras) -> Tensor:
    """The learned features of the voxels of its finest level."""
    return network.lift_features(images, network.image_features(images), cameras, network.size)


def assert_same(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> None:
    """Two pairs of estimate and features."""
    for one, other in zip(a, b, strict=True):
        torch.testing.assert_close(one, other, **TOLERANCE)


def assert_all_learn(module: nn.Module) -> None:
    """Every parameter got a gradient, and of more than rounding errors (docs/method.md, 2.5: layers that were never trained)."""
    largest = {name: 0.0 if p.grad is None else float(p.grad.abs().max()) for name, p in module.named_parameters()}
    assert not [name for name, value in largest.items() if value < 1e-6 * max(largest.values())]


@torch.no_grad()
def test_a_view_without_a_measured_pixel_is_as_if_it_were_not_there(network):
    images = some_images(2)
    images[:, 1, 1] = 0.0
    assert_same(network(images, cameras_at(0.0, 90.0)), network(images[:, :1], cameras_at(0.0)))


@pytest.mark.parametrize("lift", ["geometry", "parallel"])
@pytest.mark.parametrize("angle_deg", [0.0, 90.0, -90.0])
@torch.no_grad()
def test_a_lateral_alone_works_like_a_frontal_alone(lift, angle_deg):
    """docs/method.md, 2.7: lateral-only input crashed."""
    network = randomised(ConditionNet(replace(CONDITION, lift=lift), 16, 384.0, 4))
    assert bool(network(some_images(1), cameras_at(angle_deg))[0].isfinite().all())


@pytest.mark.parametrize("changes", [{}, {"lift": "parallel"}, {"fine": (8, 8), "channels": CONDITION.channels[:1]}])
def test_every_parameter_of_the_condition_network_learns(changes):
    network = randomised(ConditionNet(replace(CONDITION, **changes), 16, 384.0, 4), std=0.2)
    estimate, features = network(some_images(2), cameras_at(0.0, 90.0))
    (estimate.square().mean() + features.square().mean()).backward()
    assert_all_learn(network)


@torch.no_grad()
def test_a_refinement_adds_nothing_before_it_is_trained_and_then_at_full_resolution():
    network = ConditionNet(replace(CONDITION, fine=(8, 8)), 16, 384.0, 4)
    images, cameras = some_images(2), cameras_at(0.0, 90.0)
    coarse = network.coarse(images, cameras)
    assert coarse.shape == (1, 1, 8, 8, 8)
    enlarged = nn.functional.interpolate(coarse, scale_factor=2.0, mode="trilinear")
    torch.testing.assert_close(network(images, cameras)[0], enlarged)
    randomised(network.refine, std=0.2)
    added = network(images, cameras)[0] - enlarged
    blocks = space_to_depth(added)
    assert float((blocks - blocks.mean(1, keepdim=True)).abs().max()) > 1e-3  # of all eight voxels in a block


@torch.no_grad()
def test_a_frontal_lifted_in_parallel_is_constant_along_y_and_follows_the_image():
    """With a network that hands through the first image feature, the lift is the (z, x) image on every y."""
    network = randomised(ConditionNet(replace(CONDITION, lift="parallel"), 16, 384.0, 4), std=0.2)
    images = some_images(1)
    images[:, :, 1] = 1.0
    lifted = lifted_features(network, images, cameras_at(0.0))[:, : CONDITION.features]
    torch.testing.assert_close(lifted, lifted[:, :, :, :1].expand_as(lifted), **TOLERANCE)
    assert float(lifted.std(dim=2).min()) > 1e-4
    assert float(lifted.std(dim=4).min()) > 1e-4
    lateral = lifted_features(network, images, cameras_at(90.0))[:, CONDITION.features + 1 : -2]
    torch.testing.assert_close(lateral, lateral[..., :1].expand_as(lateral), **TOLERANCE)


@torch.no_grad()
def test_a_change_in_one_pixel_reaches_only_the_voxels_on_its_ray():
    """The lift sees features only at a voxel's own projection: with pixel-wise features nothing else can change."""
    network = randomised(ConditionNet(CONDITION, 16, 384.0, 4), std=0.3)
    network.image, network.to_image_features = PixelFeatures(), nn.Identity()
    images = torch.zeros(1, 1, 2, 32, 32)
    images[:, :, 1] = 1.0
    cameras = cameras_at(0.0)
    spot = images.clone()
    col, row = 20, 26  # right of and below the middle: left and inferior
    spot[0, 0, 0, row, col] = 5.0
    difference = lifted_features(network, spot, cameras) - lifted_features(network, images, cameras)
    changed = difference.abs().sum(1)[0] > 1e-5
    centres = voxel_centres(8, 48.0)
    where = cameras.project(centres.view(-1, 3))[0][0, 0].view(8, 8, 8, 2)
    # Features have half the detector's resolution: the pixel's feature reaches one feature (two pixels) to each side.
    aside = (where - torch.tensor([10.0, 13.0]) * 2 / 15 + 1.0).abs().amax(-1) / (2 / 15)
    assert len(centres[changed][:, 1].unique()) >= 6  # along y, front to back
    assert float(aside[changed].max()) <= 1.0
    assert bool(changed[aside < 0.9].all())


@torch.no_grad()
def test_every_ct_voxel_gets_the_intensity_at_its_own_projection(network):
    """An image whose intensity is its column coordinate: the frontal average is where each voxel falls."""
    images = torch.ones(1, 1, 2, 32, 32)
    images[0, 0, 0] = torch.linspace(-1.0, 1.0, 32).expand(32, 32)
    cameras = cameras_at(0.0)
    frontal = depth_to_space(network.lift_intensities(images, cameras, network.size))[0, 0]
    where = lift_rays(cameras, voxel_axis(16, 24.0)).where[0, 0]
    torch.testing.assert_close(frontal, where[..., 0], atol=1e-4, rtol=0)


class PixelFeatures(nn.Module):
    """Image features that look at one pixel only."""

    def forward(self, x: Tensor) -> list[Tensor]:
        return [nn.functional.avg_pool2d(x[:, :1], 2).repeat(1, CONDITION.features, 1, 1)]


# Small blocks --------------------------------------------------------------------------------------------------------


def test_untrained_residual_branches_are_the_identity():
    x = torch.randn(2, 16, 4, 4, 4)
    torch.testing.assert_close(ResBlock3D(16, 16)(x), x)
    torch.testing.assert_close(Attention(16)(x), x)
    image = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(ResBlock2D(16, 16)(image), image)


def test_norm_uses_as_many_groups_as_divide_the_channels():
    assert [norm(channels, 32).num_groups for channels in (32, 48, 96, 24, 7)] == [32, 16, 32, 8, 1]


def test_a_voxel_norm_is_a_layer_norm_over_the_channels_of_each_position():
    ours, theirs = randomised(VoxelNorm(6)), nn.LayerNorm(6)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 6, 3, 4, 5).contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(ours(x), theirs(x.movedim(1, -1)).movedim(-1, 1))
    assert ours(x).is_contiguous(memory_format=torch.channels_last_3d)


def test_how_weights_lie_in_memory_does_not_change_what_they_do():
    x, network = torch.randn(1, 3, 4, 4, 4), randomised(UNet3D(3, 2, UNetConfig((24, 24), (False, True), head_width=8)))
    time = torch.tensor([300.0])
    plain = network(x, time)
    torch.testing.assert_close(channels_last(network)(x, time), plain, **TOLERANCE)
    assert network.stem.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_condition_network_must_reach_down_to_the_latents():
    with pytest.raises(ValueError, match="2 levels do not reach latents at 1/8"):
        ConditionNet(CONDITION, 16, 384.0, 8)


@torch.no_grad()
def test_a_denoiser_of_patches_is_the_same_network_on_folded_latents():
    patched = randomised(UNet3D(2, 1, UNetConfig((24, 24), (False, True), head_width=8, patch=2)))
    plain = randomised(UNet3D(16, 8, UNetConfig((24, 24), (False, True), head_width=8)))
    plain.load_state_dict(patched.state_dict())
    x, time = torch.randn(1, 2, 8, 8, 8), torch.tensor([300.0])
    torch.testing.assert_close(patched(x, time), depth_to_space(plain(space_to_depth(x), time)))


@pytest.mark.parametrize(("dtype", "error"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
def test_group_norm_is_torchs_in_values_gradients_and_layout(dtype: torch.dtype, error: float) -> None:
    ours, theirs = norm(12, 3), torch.nn.GroupNorm(3, 12, eps=1e-6)
    random = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(12, generator=random) for _ in range(2))
    seen, back = (torch.randn(2, 12, 4, 4, 4, generator=random) for _ in range(2))
    found = []
    for layer in (ours, theirs):
        layer.load_state_dict({"weight": weight, "bias": bias})
        x = seen.to(dtype).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
        y = layer(x)
        assert y.is_contiguous(memory_format=torch.channels_last_3d)
        y.backward(back.to(dtype))
        found.append((y.detach(), x.grad, layer.weight.grad, layer.bias.grad))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=error, atol=error)
