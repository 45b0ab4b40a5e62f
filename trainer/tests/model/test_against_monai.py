"""Networks against MONAI with shared weights.

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

import pytest
import torch
from small_bundle import PUBLISHED, TOLERANCE, parameter_count, randomised
from torch import Tensor, nn

from clsdm.model.autoencoder import AutoencoderConfig, Decoder, Encoder
from clsdm.model.blocks import (
    Attention,
)
from clsdm.model.denoiser import UNet3D, UNetConfig


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
