"""Building blocks shared by all networks, in two or three dimensions."""

import math
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def conv(dims: int, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """A padded 2-D or 3-D convolution."""
    kind = nn.Conv2d if dims == 2 else nn.Conv3d
    return kind(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


Norm = Literal["group", "voxel"]
"""``group`` is the published normalisation; ``voxel`` normalises the channels of each position by themselves, which is
faster where channels lie last in memory (``trainer/benchmarks/parts.py``)."""


def norm(channels: int, groups: int = 32, kind: Norm = "group", eps: float = 1e-6) -> nn.Module:
    """GroupNorm over at most ``groups`` groups (fewer where the channels do not divide), or :class:`VoxelNorm`."""
    return VoxelNorm(channels) if kind == "voxel" else GroupNorm(math.gcd(groups, channels), channels, eps=eps)


class GroupNorm(nn.GroupNorm):
    """``torch.nn.GroupNorm``, differentiated on a CPU in bfloat16 with the channels first.

    With the channels last, torch 2.13 takes longer for that than for moving them there and back; in float32 it does not.
    Measured in ``trainer/benchmarks/parts.py``.
    """

    def forward(self, input: Tensor) -> Tensor:
        last = torch.channels_last_3d
        if input.device.type != "cpu" or input.dtype != torch.bfloat16 or not input.requires_grad or input.dim() != 5:
            return super().forward(input)
        return super().forward(input.contiguous()).contiguous(memory_format=last)


class VoxelNorm(nn.Module):
    """LayerNorm over the channels at each position (Liu et al. 2022, ConvNeXt): (B, C, ...) -> (B, C, ...)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        last = x.movedim(1, -1)
        weight, bias = self.weight.to(x.dtype), self.bias.to(x.dtype)
        return F.layer_norm(last, last.shape[-1:], weight, bias).movedim(-1, 1)


def channels_last(module: nn.Module) -> nn.Module:
    """Lay the convolutions' weights out as their fast kernels want them (``trainer/benchmarks/parts.py``)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        if isinstance(layer, nn.Conv3d):
            layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last_3d)
    return module


def zeroed(module: nn.Module) -> nn.Module:
    """The module with all its parameters zero: a residual branch that starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module


class ResBlock(nn.Module):
    """GroupNorm - SiLU - conv, twice, with a shortcut; an embedding is added between the two convolutions."""

    def __init__(
        self, dims: int, inputs: int, outputs: int, *, groups: int = 32, embedding: int = 0, kind: Norm = "group"
    ) -> None:
        super().__init__()
        self.norm1 = norm(inputs, groups, kind)
        self.conv1 = conv(dims, inputs, outputs)
        self.embed = nn.Linear(embedding, outputs) if embedding else None
        self.norm2 = norm(outputs, groups, kind)
        self.conv2 = zeroed(conv(dims, outputs, outputs))
        self.shortcut = conv(dims, inputs, outputs, kernel=1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor | None = None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.embed is not None and embedding is not None:
            h = h + self.embed(F.silu(embedding)).view(*h.shape[:2], *[1] * (h.ndim - 2))
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(h)))


class Attention(nn.Module):
    """Self-attention over all positions, with heads of ``head_width`` channels and a shortcut."""

    def __init__(self, channels: int, *, head_width: int = 32, groups: int = 32, kind: Norm = "group") -> None:
        super().__init__()
        self.heads = max(1, channels // head_width)
        self.norm = norm(channels, groups, kind)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.out = zeroed(nn.Linear(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        batch, channels = x.shape[:2]
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        q, k, v = self.qkv(tokens).view(batch, -1, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).reshape(x.shape)


class Upsample(nn.Module):
    """Nearest-neighbour doubling, then a convolution."""

    def __init__(self, dims: int, channels: int, outputs: int | None = None) -> None:
        super().__init__()
        self.conv = conv(dims, channels, outputs or channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))


def space_to_depth(x: Tensor, factor: int = 2) -> Tensor:
    """(B, C, z, y, x) -> (B, C factor³, z/factor, y/factor, x/factor): each block of voxels becomes channels."""
    b, c, d, h, w = x.shape
    f = factor
    blocks = x.reshape(b, c, d // f, f, h // f, f, w // f, f).permute(0, 1, 3, 5, 7, 2, 4, 6)
    return blocks.reshape(b, c * f**3, d // f, h // f, w // f)


def depth_to_space(x: Tensor, factor: int = 2) -> Tensor:
    """The inverse of :func:`space_to_depth`."""
    b, c, d, h, w = x.shape
    f = factor
    blocks = x.reshape(b, c // f**3, f, f, f, d, h, w).permute(0, 1, 5, 2, 6, 3, 7, 4)
    return blocks.reshape(b, c // f**3, f * d, f * h, f * w)


def time_embedding(t: Tensor, width: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoidal embedding of ``t`` (B,), cosines first (Ho et al. 2020; the order of MONAI and LDM)."""
    half = width // 2
    frequency = torch.exp(-math.log(max_period) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
    angle = t.float()[:, None] * frequency
    return torch.cat((angle.cos(), angle.sin()), dim=1)


ResBlock2D = partial(ResBlock, 2)
ResBlock3D = partial(ResBlock, 3)
