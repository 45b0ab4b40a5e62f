"""Layers of the networks in two memory layouts: what the choices in ``clsdm/model/blocks.py`` gain, forward and backward.

Activations lie with their channels last throughout, as the networks hand them on. Alternatives: torch's GroupNorm against
ours, which is differentiated with the channels first; GroupNorm against VoxelNorm; convolution weights with their channels
first against last.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from measuring import Ratio, finish, interleaved, parser, start
from torch import Tensor, nn

from clsdm.model.blocks import GroupNorm, VoxelNorm, channels_last, conv
from clsdm_trainer.precision import has_fast_bfloat16

TORCH_NORM, OUR_NORM, VOXEL_NORM = "GroupNorm (torch)", "GroupNorm (ours)", "VoxelNorm"
FIRST, LAST = "convolution, weights first", "convolution, weights last"


def both_ways(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    """Forward and backward of a layer on the same activations."""

    def call() -> None:
        x.grad = None
        y = layer(x)
        y.backward(torch.ones_like(y))

    return call


def layers(channels: int) -> dict[str, nn.Module]:
    """The alternatives."""
    groups = min(8, channels)
    return {
        TORCH_NORM: nn.GroupNorm(groups, channels),
        OUR_NORM: GroupNorm(groups, channels),
        VOXEL_NORM: VoxelNorm(channels),
        FIRST: conv(3, channels, channels),
        LAST: channels_last(conv(3, channels, channels)),
    }


def command_line() -> argparse.Namespace:
    """The options."""
    options = parser(__doc__)
    options.add_argument("--precision", choices=("float32", "bfloat16"), help="(default: bfloat16 where it is fast)")
    options.add_argument("--batch", type=int, default=4)
    options.add_argument("--channels", type=int, default=16)
    options.add_argument("--size", type=int, default=64, help="voxels along an edge")
    return options.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = command_line()
    device = start(arguments)
    rounds = arguments.rounds or (2 if arguments.smoke else 10)
    size = 8 if arguments.smoke else arguments.size
    kind = getattr(torch, arguments.precision or ("bfloat16" if has_fast_bfloat16(device) else "float32"))
    x = torch.randn(arguments.batch, arguments.channels, size, size, size, device=device, dtype=kind)
    x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    calls = {name: both_ways(layer.to(device, kind), x) for name, layer in layers(arguments.channels).items()}
    seconds = interleaved(calls, rounds, device)
    rows = [{"layer": name, "ms": 1e3 * statistics.median(values)} for name, values in seconds.items()]
    ratios = [
        Ratio.of(f"{more} / {less}", seconds[more], seconds[less])
        for more, less in ((TORCH_NORM, OUR_NORM), (OUR_NORM, VOXEL_NORM), (FIRST, LAST))
    ]
    title = f"({arguments.batch}, {arguments.channels}, {size}, {size}, {size}) {kind}, forward + backward"
    finish("layers", arguments, device, {title: rows}, ratios)


if __name__ == "__main__":
    main()
