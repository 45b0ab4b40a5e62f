"""Stage 3's network: a 3-D U-Net that sees noisy latents, the condition, and the time (Ho et al. 2020)."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from clsdm.model.blocks import (
    Attention,
    Norm,
    ResBlock3D,
    Upsample,
    conv,
    depth_to_space,
    norm,
    space_to_depth,
    time_embedding,
    zeroed,
)


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the denoiser; ``channels`` and ``attention`` have one entry per resolution, finest first; ``norm`` is "group" in
    the published network. ``patch`` latent voxels along each axis are folded into channels at the entrance and unfolded
    at the exit, so that the finest resolution is that much coarser (1 in the published network). With ``gate`` it also says,
    voxel by voxel, how much of the state itself its prediction holds, which no narrow network could carry through."""

    channels: tuple[int, ...] = (64, 128, 192)
    attention: tuple[bool, ...] = (False, False, True)
    res_blocks: int = 1
    head_width: int = 32
    norm: Norm = "voxel"
    patch: int = 1
    gate: bool = False

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if len(self.channels) != len(self.attention):
            raise ValueError(f"U-Net: {len(self.channels)} channel widths but {len(self.attention)} attention flags")


class Level(nn.Module):
    """A residual block with time embedding and, optionally, attention."""

    def __init__(self, inputs: int, outputs: int, embedding: int, attention: bool, config: UNetConfig) -> None:
        super().__init__()
        self.block = ResBlock3D(inputs, outputs, embedding=embedding, kind=config.norm)
        attend = Attention(outputs, head_width=config.head_width, kind=config.norm) if attention else nn.Identity()
        self.attention = attend

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.attention(self.block(x, embedding))


class UNet3D(nn.Module):
    """(B, inputs, m, m, m), the state first, and time (B,) -> (B, outputs, m, m, m)."""

    def __init__(self, inputs: int, outputs: int, config: UNetConfig) -> None:
        super().__init__()
        widths, flags, self.patch, self.gate = config.channels, config.attention, config.patch, config.gate
        embedding = 4 * widths[0]
        self.width = widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.stem = conv(3, inputs * config.patch**3, widths[0])
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        width, skips = widths[0], [widths[0]]
        for index, (channels, attention) in enumerate(zip(widths, flags, strict=True)):
            for _ in range(config.res_blocks):
                self.down.append(Level(width, channels, embedding, attention, config))
                width = channels
                skips.append(width)
            if index + 1 < len(widths):
                self.shrink.append(conv(3, width, width, stride=2))
                skips.append(width)
        self.middle1 = Level(width, width, embedding, True, config)
        self.middle2 = Level(width, width, embedding, False, config)
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for index in reversed(range(len(widths))):
            for _ in range(config.res_blocks + 1):
                self.up.append(Level(width + skips.pop(), widths[index], embedding, flags[index], config))
                width = widths[index]
            if index:
                self.grow.append(Upsample(3, width))
        self.outputs = outputs
        made = (outputs + outputs * config.gate) * config.patch**3
        self.out = nn.Sequential(norm(width, kind=config.norm), nn.SiLU(), zeroed(conv(3, width, made)))
        self.res_blocks = config.res_blocks

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        embedding = self.time(time_embedding(t, self.width))
        state = x[:, : self.outputs].float()
        x = self.stem(space_to_depth(x, self.patch))
        skips = [x]
        for index, level in enumerate(self.down):
            x = level(x, embedding)
            skips.append(x)
            at_level, last = divmod(index + 1, self.res_blocks)
            if not last and at_level <= len(self.shrink):
                x = self.shrink[at_level - 1](x)
                skips.append(x)
        x = self.middle2(self.middle1(x, embedding), embedding)
        for index, level in enumerate(self.up):
            x = level(torch.cat((x, skips.pop()), dim=1), embedding)
            at_level, last = divmod(index + 1, self.res_blocks + 1)
            if not last and at_level <= len(self.grow):
                x = self.grow[at_level - 1](x)
        out = depth_to_space(self.out(x), self.patch).float()
        return out[:, : self.outputs] + out[:, self.outputs :] * state if self.gate else out
