"""Muon's orthogonal direction: rounds on the square in float32 (ours) against rounds on the whole matrix.

Alternatives: rounds on the matrix in bfloat16, as K. Jordan and ``torch.optim.Muon`` take them, and the same in float32.
The worst error of each is its distance to the float64 result, in the largest singular value.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial

import torch
from measuring import Ratio, finish, interleaved, parser, start
from torch import Tensor

from clsdm_trainer.optim import NEWTON_SCHULZ, ROUNDS, orthogonal

OURS, HALF, WHOLE = "on the square, float32 (ours)", "on the matrix, bfloat16", "on the matrix, float32"


def on_the_matrix(matrix: Tensor, kind: torch.dtype) -> Tensor:
    """The same direction of a wide matrix, every round on the whole of it."""
    a, b, c = NEWTON_SCHULZ
    x = (matrix / matrix.norm()).to(kind)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.to(matrix.dtype)


def command_line() -> argparse.Namespace:
    """The options."""
    options = parser(__doc__)
    options.add_argument("--channels", type=int, nargs="+", default=[64, 128, 192], help="of kernels of 3³ voxels")
    return options.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = command_line()
    device = start(arguments)
    rounds = arguments.rounds or (2 if arguments.smoke else 5)
    tables: dict[str, list[dict[str, object]]] = {}
    ratios = []
    for channels in (4,) if arguments.smoke else arguments.channels:
        matrix = torch.randn(channels, 27 * channels, device=device)
        calls: dict[str, Callable[[], Tensor]] = {
            OURS: partial(orthogonal, matrix),
            HALF: partial(on_the_matrix, matrix, torch.bfloat16),
            WHOLE: partial(on_the_matrix, matrix, torch.float32),
        }
        exact = on_the_matrix(matrix.double(), torch.float64)
        seconds = interleaved(dict(calls), rounds, device)
        title = f"{channels} channels: {tuple(matrix.shape)}"
        tables[title] = [
            {
                "rounds": name,
                "ms": 1e3 * statistics.median(seconds[name]),
                "error": float(torch.linalg.matrix_norm(call() - exact, 2)),
            }
            for name, call in calls.items()
        ]
        ratios += [
            Ratio.of(f"{channels} channels: {name} / ours", seconds[name], seconds[OURS]) for name in (HALF, WHOLE)
        ]
    finish("muon", arguments, device, tables, ratios)


if __name__ == "__main__":
    main()
