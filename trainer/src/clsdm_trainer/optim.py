"""The optimisers of a recipe: AdamW, or Muon for convolutions, and their rate over the steps.

Muon: the weights of a layer move as one matrix, along the nearest orthogonal one to their momentum.

K. Jordan et al. 2024, with the scale of Liu et al. 2025 ("Muon is scalable for LLM training"), so that it takes AdamW's
learning rate and weight decay. ``torch.optim.Muon`` takes two-dimensional weights only. Biases and norms stay with AdamW.
What it is for: short trainings, which learn more from each sample; a step costs a few orthogonalisations more.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from clsdm_trainer.config import OptimiserConfig

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


class Muon(torch.optim.AdamW):
    """Muon for every parameter of two or more dimensions (output channels first), AdamW for the others."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.01,
        momentum: float = 0.95,
    ) -> None:
        parameters = list(parameters)
        groups = [
            {"params": [p for p in parameters if (p.ndim >= 2) is matrices], "matrices": matrices}
            for matrices in (True, False)
        ]
        self.momentum = momentum
        super().__init__([group for group in groups if group["params"]], lr=lr, betas=betas, weight_decay=weight_decay)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # noqa: ANN401 - as torch's
        """One step; the gradients of the matrices are used up."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for parameter in group["params"] if group["matrices"] else ():
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group["lr"], group["weight_decay"])
                    parameter.grad = None  # AdamW passes over it
        super().step()
        return loss

    def _move(self, parameter: nn.Parameter, gradient: Tensor, lr: float, weight_decay: float) -> None:
        state = self.state[parameter]
        momentum = state.setdefault("momentum", torch.zeros_like(parameter))
        state.setdefault("step", torch.zeros(())).add_(1)  # AdamW looks for one when it loads a state
        momentum.lerp_(gradient, 1.0 - self.momentum)
        update = orthogonal(gradient.lerp(momentum, self.momentum).flatten(1))
        parameter.mul_(1.0 - lr * weight_decay)
        parameter.add_(update.view(parameter.shape), alpha=-0.2 * max(update.shape) ** 0.5 * lr)


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly: singular values between 0.7 and 1.2 (Newton-Schulz).

    Every round multiplies by a polynomial of x xᵀ from the left. The rounds are therefore taken on that square, which is
    small where a kernel has many more inputs than outputs, and x is multiplied once. In float32: a processor without
    bfloat16 imitates it at a fraction of the speed (``trainer/benchmarks/parts.py``), and TF32, which torch uses for
    matrices only when told to, is too coarse for squares.

    Args:
        matrix: (rows, cols) float32.
    """
    wide = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    square = x @ x.T
    product = factor = _factor(square)
    for _ in range(ROUNDS - 1):
        square = factor @ square @ factor
        factor = _factor(square)
        product = factor @ product
    x = product @ x
    return x if wide is matrix else x.T


def _factor(square: Tensor) -> Tensor:
    """The factor of one round on x, as a polynomial of x xᵀ."""
    a, b, c = NEWTON_SCHULZ
    factor = torch.addmm(square, square, square, beta=b, alpha=c)
    factor.diagonal().add_(a)
    return factor


def make_optimiser(module: nn.Module, config: OptimiserConfig) -> torch.optim.Optimizer:
    """The configured optimiser over everything in the module that is not frozen."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    kind = Muon if config.kind == "muon" else torch.optim.AdamW
    return kind(trainable, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay)


def learning_rate(config: OptimiserConfig, step: int, steps: int) -> float:
    """Linear warm-up, then a half cosine to zero at ``steps`` (or constant, or linear to zero in the second half)."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay == "constant":
        return config.lr * warm
    if config.decay == "linear":
        return config.lr * warm * min(1.0, 2.0 * (1.0 - step / steps))
    return config.lr * warm * 0.5 * (1.0 + math.cos(math.pi * step / steps))
