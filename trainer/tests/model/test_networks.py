"""Networks against MONAI with shared weights, and the properties that the method relies on.

Where ours differ from MONAI, and how the tests neutralise it:

- MONAI's autoencoder has no SiLU between its last norms and convolutions (the published one has); it is inserted.
- MONAI pads its strided encoder convolutions behind only; ours, as in its diffusion U-Net, on both sides. The test gives
  MONAI's layer our padding.
- MONAI's decoder has as many residual blocks per level as it is told; the published one (and ours) one more than the
  encoder, so it is told one more.
- MONAI projects query, key and value by three layers; ours by one with the same rows.
"""

import importlib.util
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clsdm.geometry.cameras import Cameras, voxel_axis, voxel_centres
from clsdm.geometry.lift import coverage, fuse, lift_rays, parallel_rays
from clsdm.geometry.view import Detector, View, preset
from clsdm.model.autoencoder import Autoencoder, AutoencoderConfig, Decoder, Encoder, Posterior
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
from clsdm.xray.preprocess import cameras_for

TOLERANCE = {"atol": 1e-4, "rtol": 1e-4}


def randomised(module: nn.Module, std: float = 0.1) -> nn.Module:
    """Every parameter random, also those at which training starts from zero (they would hide what is behind them)."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=std)
    return module.eval()


def parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


# MONAI with our weights ----------------------------------------------------------------------------------------------


class Heads(nn.Module):
    """The two arrangements of MONAI's attention, for where einops (which MONAI takes them from) is not installed."""

    def __init__(self, pattern: str, l: int = 0) -> None:  # noqa: E741 - MONAI's name for the number of heads
        super().__init__()
        assert pattern in ("b h (l d) -> b l h d", "b l h d -> b h (l d)")
        self.heads = l

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2) if self.heads else x.transpose(1, 2).flatten(2)


@pytest.fixture
def monai(monkeypatch: pytest.MonkeyPatch) -> object:
    """MONAI's modules that are compared with ours."""
    nets = pytest.importorskip("monai.networks.nets", reason="needs the trainer's extras")
    if importlib.util.find_spec("einops") is None:
        monkeypatch.setattr("monai.networks.blocks.selfattention.Rearrange", Heads)
    return nets


def copy(ours: nn.Module, theirs: nn.Module) -> None:
    """One layer's weights."""
    theirs.load_state_dict(ours.state_dict())


def copy_conv(ours: nn.Module, theirs: nn.Module) -> None:
    copy(ours, theirs.conv)


def copy_attention(ours: Attention, theirs: nn.Module) -> None:
    copy(ours.norm, theirs.norm)
    copy(ours.out, theirs.attn.out_proj)
    parts = zip(ours.qkv.weight.chunk(3), ours.qkv.bias.chunk(3), strict=True)
    for layer, (weight, bias) in zip((theirs.attn.to_q, theirs.attn.to_k, theirs.attn.to_v), parts, strict=True):
        layer.load_state_dict({"weight": weight, "bias": bias})


def copy_block(ours: nn.Module, theirs: nn.Module) -> None:
    """A residual block of the autoencoder or of the diffusion U-Net."""
    copy(ours.norm1, theirs.norm1)
    copy(ours.norm2, theirs.norm2)
    copy_conv(ours.conv1, theirs.conv1)
    copy_conv(ours.conv2, theirs.conv2)
    shortcut = theirs.nin_shortcut if hasattr(theirs, "nin_shortcut") else theirs.skip_connection
    if not isinstance(ours.shortcut, nn.Identity):
        copy_conv(ours.shortcut, shortcut)
    if ours.embed is not None:
        copy(ours.embed, theirs.time_emb_proj)


def copy_sequence(ours: Iterable[nn.Module], theirs: Iterable[nn.Module]) -> None:
    """The layers of an encoder or decoder in the order in which they are applied; they must pair off exactly."""
    for mine, yours in zip(ours, theirs, strict=True):
        if isinstance(mine, Attention):
            copy_attention(mine, yours)
        elif isinstance(mine, nn.GroupNorm):
            copy(mine, yours)
        elif hasattr(mine, "norm1"):
            copy_block(mine, yours)
        elif isinstance(mine, nn.Conv3d):
            copy_conv(mine, yours.conv if hasattr(yours.conv, "conv") else yours)
        else:
            copy_conv(mine.conv, yours.postconv)


def layers(coder: Encoder | Decoder) -> Iterator[nn.Module]:
    """Ours in the order in which they are applied."""
    yield coder.stem
    levels = [layer for level in coder.levels for layer in level]
    middle = list(coder.middle)
    yield from levels + middle if isinstance(coder, Encoder) else middle + levels
    yield coder.out[0]
    yield coder.out[2]


def with_last_swish(coder: nn.Module) -> nn.Sequential:
    """MONAI's layers with the SiLU that the published autoencoder has before its last convolution."""
    *before, last = coder.blocks
    return nn.Sequential(*before, nn.SiLU(), last).eval()


PUBLISHED: dict[str, Any] = {"attention": True, "narrow_upsample": False, "shortcut": False, "norm": "group"}
SMALL_PUBLISHED = AutoencoderConfig("conv", (32, 64, 96), 2, 3, **PUBLISHED)


def monai_coder(kind: type[nn.Module], blocks: int, **extra: int) -> nn.Module:
    count = len(SMALL_PUBLISHED.channels)
    return kind(
        spatial_dims=3, channels=SMALL_PUBLISHED.channels, num_res_blocks=[blocks] * count, norm_num_groups=32,
        norm_eps=1e-6, attention_levels=[False] * count, **extra,
    )  # fmt: skip


@pytest.mark.parametrize("head_width", [8, 32, 64])
def test_attention_is_monais_with_any_number_of_heads(monai, head_width):
    ours = randomised(Attention(64, head_width=head_width), std=0.3)
    theirs = monai.autoencoderkl.SpatialAttentionBlock(3, 64, head_width).eval()
    copy_attention(ours, theirs)
    x = torch.randn(2, 64, 3, 4, 5)
    torch.testing.assert_close(ours(x), theirs(x), **TOLERANCE)


@torch.no_grad()
def test_the_decoder_is_monais_with_one_more_block_per_level_and_the_last_swish(monai):
    ours = randomised(Decoder(SMALL_PUBLISHED))
    theirs = monai_coder(monai.autoencoderkl.Decoder, 3, in_channels=3, out_channels=1)
    copy_sequence(layers(ours), theirs.blocks)
    z = torch.randn(2, 3, 3, 3, 4)
    torch.testing.assert_close(ours(z), with_last_swish(theirs)(z), **TOLERANCE)


@torch.no_grad()
def test_the_encoder_is_monais_with_symmetric_padding_and_the_last_swish(monai):
    ours = randomised(Encoder(SMALL_PUBLISHED))
    theirs = monai_coder(monai.autoencoderkl.Encoder, 2, in_channels=1, out_channels=6)
    copy_sequence(layers(ours), theirs.blocks)
    for block in theirs.blocks:
        if isinstance(block, monai.autoencoderkl.AEKLDownsample):
            block.pad = nn.Identity()
            block.conv.conv.padding = (1, 1, 1)
    x = torch.randn(2, 1, 12, 12, 16)
    torch.testing.assert_close(ours(x), with_last_swish(theirs)(x), **TOLERANCE)


UNETS = {
    "published shape": UNetConfig((32, 64, 96), (True, True, True), res_blocks=2, head_width=8, norm="group"),
    "our shape": UNetConfig((32, 64, 64), (False, False, True), res_blocks=1, head_width=32, norm="group"),
    "three blocks": UNetConfig((64, 32), (True, False), res_blocks=3, head_width=16, norm="group"),
}


def copy_unet(ours: UNet3D, theirs: nn.Module) -> None:
    """A whole diffusion U-Net."""
    copy(ours.time, theirs.time_embed)
    copy_conv(ours.stem, theirs.conv_in)
    for mine, sampler, blocks in (
        (iter(ours.down), iter(ours.shrink), theirs.down_blocks),
        (iter(ours.up), iter(ours.grow), theirs.up_blocks),
    ):
        for block in blocks:
            attentions = getattr(block, "attentions", [None] * len(block.resnets))
            for resnet, attention in zip(block.resnets, attentions, strict=True):
                level = next(mine)
                copy_block(level.block, resnet)
                if attention is not None:
                    copy_attention(level.attention, attention)
                else:
                    assert isinstance(level.attention, nn.Identity)
            if getattr(block, "downsampler", None) is not None:
                copy_conv(next(sampler), block.downsampler.op)
            if getattr(block, "upsampler", None) is not None:
                copy_conv(next(sampler).conv, block.upsampler.postconv)
        assert not list(mine)
        assert not list(sampler)
    middle = theirs.middle_block
    copy_block(ours.middle1.block, middle.resnet_1)
    copy_attention(ours.middle1.attention, middle.attention)
    copy_block(ours.middle2.block, middle.resnet_2)
    copy(ours.out[0], theirs.out[0])
    copy_conv(ours.out[2], theirs.out[2])


@pytest.mark.parametrize("config", UNETS.values(), ids=list(UNETS))
@torch.no_grad()
def test_the_denoiser_is_monais_diffusion_unet(monai, config):
    ours = randomised(UNet3D(5, 3, config), std=0.05)
    theirs = monai.DiffusionModelUNet(
        spatial_dims=3, in_channels=5, out_channels=3, channels=config.channels, attention_levels=config.attention,
        num_res_blocks=config.res_blocks, num_head_channels=config.head_width, norm_num_groups=32, norm_eps=1e-6,
    ).eval()  # fmt: skip
    copy_unet(ours, theirs)
    assert parameter_count(ours) == parameter_count(theirs)
    x, t = torch.randn(2, 5, 8, 8, 4), torch.tensor([3.0, 871.0])
    torch.testing.assert_close(ours(x, t), theirs(x, t), **TOLERANCE)


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

DETECTOR = Detector(32, 480.0)
CONDITION = ConditionConfig(
    image_channels=(24, 24), features=8, channels=(24, 24), condition_channels=4, contrast_channels=8
)
ANGLES_DEG = (0.0, 90.0, 45.0, 180.0, -90.0, -45.0, 20.0, 110.0)


def cameras_at(*angles_deg: float) -> Cameras:
    return cameras_for([[preset("chest").view(angle) for angle in angles_deg]], DETECTOR)


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


@pytest.mark.parametrize("size", [32, 33])
def test_a_voxel_samples_the_feature_at_its_own_projection(size):
    """A bright spot painted where a voxel projects is sampled there, for every voxel on its ray and for no other."""
    detector = Detector(size, 480.0)
    view = replace(preset("x2ct").view(30.0), tilt_deg=5.0)
    cameras = cameras_for([[view]], detector)
    axis_mm = voxel_axis(8, 48.0)
    centres, where = voxel_centres(8, 48.0).view(-1, 3), lift_rays(cameras, axis_mm).where.view(1, 1, -1, 2)
    chosen = 3 * 64 + 2 * 8 + 5  # z, y, x = 3, 2, 5
    row, col = (((where[0, 0, chosen].flip(0) + 1) / 2) * (size - 1)).round().int().tolist()
    spot = torch.zeros(1, 1, size, size)
    spot[0, 0, row, col] = 1.0
    sampled = nn.functional.grid_sample(spot, where[0, None], align_corners=True)[0, 0, 0]
    assert float(sampled[chosen]) > 0.25
    # Those that see it lie within one pixel (at the isocentre, magnified by nearness) of the ray through the voxel.
    source = cameras.source[0, 0]
    along = nn.functional.normalize(centres[chosen] - source, dim=0)
    aside = torch.linalg.cross(centres - source, along.expand_as(centres)).norm(dim=-1)
    assert float(aside[sampled > 0].max()) < 2.0 * 1.6 * 480.0 / size
    assert bool((sampled[aside > 3.2 * 480.0 / size] == 0).all())


def test_a_lift_voxel_knows_how_frontal_its_ray_is_and_its_depth():
    """Squared x and y of the unit direction, and a depth of zero at the isocentre that grows away from the source."""
    rays = lift_rays(cameras_at(0.0, 90.0), torch.tensor([-160.0, 0.0, 160.0]))
    middle = rays.direction[0, :, :, 1, :, 1]  # (frontal or lateral, view, y) on the line x = z = 0
    torch.testing.assert_close(middle[:, 0], torch.tensor([[1.0] * 3, [0.0] * 3]), atol=1e-5, rtol=0)
    torch.testing.assert_close(middle[:, 1, 1], torch.tensor([0.0, 1.0]), atol=1e-5, rtol=0)
    oblique = rays.direction[0, :, 0, 1, 1, 2]  # x = 160, seen from 1600 mm
    torch.testing.assert_close(oblique, torch.tensor([100.0, 1.0]) / 101.0, atol=1e-5, rtol=0)
    torch.testing.assert_close(rays.depth[0, 0, 1, :, 1], torch.tensor([0.1, 0.0, -0.1]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tilt_deg", [0.0, 7.0])
@pytest.mark.parametrize("scout_deg", [None, 180.0, 90.0])
def test_the_rays_of_a_cube_are_those_of_its_points(tilt_deg, scout_deg):
    """Sums over axes against ``Cameras.project``, point by point; cone and fan beams side by side."""
    views = [replace(preset("x2ct").view(angle), tilt_deg=tilt_deg) for angle in (0.0, 37.0, 90.0)]
    views += [] if scout_deg is None else [preset("localizer").view(scout_deg)]
    cameras, axis_mm = cameras_for([views, views[::-1]], DETECTOR), voxel_axis(5, 60.0)
    rays = lift_rays(cameras, axis_mm)
    where, ray = cameras.project(voxel_centres(5, 60.0).view(-1, 3))
    torch.testing.assert_close(rays.where.flatten(2, 4), where, atol=1e-5, rtol=1e-5)
    squared = (ray / ray.norm(dim=-1, keepdim=True)).square()
    torch.testing.assert_close(rays.direction.flatten(3), torch.stack((squared[..., 1], squared[..., 0]), 1))
    distance = ray.norm(dim=-1) / cameras.source.norm(dim=-1, keepdim=True) - 1.0
    torch.testing.assert_close(rays.depth.flatten(2), distance, atol=1e-5, rtol=0)


def test_frontal_and_lateral_views_are_averaged_apart_and_unseen_ones_not_at_all():
    per_view = torch.tensor([2.0, 4.0, 10.0, 99.0]).view(1, 4, 1, 1, 1, 1)
    direction = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]]).view(1, 2, 4, 1, 1, 1)
    fused, weight = fuse(per_view, direction, torch.tensor([1.0, 1.0, 1.0, 0.0]).view(1, 4, 1, 1, 1))
    assert fused.flatten().tolist() == [3.0, 10.0]  # frontal, lateral
    assert weight.flatten().tolist() == [2.0, 1.0]


def test_a_voxel_is_covered_where_its_ray_hits_a_measured_pixel():
    """The left half of the PA panel is masked: the patient's right side is not covered."""
    mask = torch.ones(1, 2, 32, 32)
    mask[0, 0, :, :16] = 0.0
    where = lift_rays(cameras_at(0.0, 90.0), torch.tensor([-60.0, 60.0, 400.0])).where
    seen = coverage(mask, where)[0]
    assert seen[:, 1, 1, :2].tolist() == [[0.0, 1.0], [1.0, 1.0]]  # right and left of the patient
    assert seen[:, 2, 1, 1].tolist() == [0.0, 0.0]  # far above the panel


@pytest.mark.parametrize(("angle_deg", "sign", "axis"), [(0.0, 1, 0), (180.0, -1, 0), (90.0, 1, 1), (-90.0, -1, 1)])
def test_the_parallel_lift_replicates_frontals_along_y_and_laterals_along_x(angle_deg, sign, axis):
    """docs/method.md, 2.4: the published lift was (y, z, x). Columns follow x or y, rows follow -z, and depth does not count."""
    axis_mm = voxel_axis(6, 64.0)
    rays, centres = parallel_rays(cameras_at(angle_deg), axis_mm), voxel_centres(6, 64.0).view(-1, 3)
    where = rays.where[0, 0].view(-1, 2)
    torch.testing.assert_close(where[:, 0], sign * centres[:, axis] * 2 / 384.0)
    torch.testing.assert_close(where[:, 1], -centres[:, 2] * 2 / 384.0)
    assert rays.direction[0, :, 0, 0, 0, 0].tolist() == ([1.0, 0.0] if axis == 0 else [0.0, 1.0])


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


def test_a_view_of_the_detector_is_what_the_lift_is_made_for():
    """The images that the network gets are on the virtual detector: cameras of the raw panel would shift every ray."""
    raw = View(0.0, 1600.0, 1800.0, 32, 32, (13.5, 13.5), offset_mm=(0.0, 40.0))
    points = torch.tensor([[50.0, 0.0, 0.0]])
    on_detector = cameras_for([[raw]], DETECTOR).project(points)[0][0, 0, 0, 0]
    assert float(on_detector) == pytest.approx(50.0 / (480.0 / 2) * 32 / 31, rel=1e-4)


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
