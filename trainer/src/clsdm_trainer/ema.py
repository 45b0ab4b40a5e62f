"""Exponential moving average of weights, in float32, used for validation and export, never only kept (docs/method.md, 2.7)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages the floating-point state of a module; ``decay`` is ramped up over the first steps."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module, self.decay = module, decay
        self.average = {name: value.detach().float().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step number ``step`` (from 0)."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        for name, value in self.module.state_dict().items():
            self.average[name].lerp_(value.float(), 1.0 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The module carries the averaged weights inside, its own afterwards."""
        own = {name: value.detach().clone() for name, value in self.module.state_dict().items()}
        self.module.load_state_dict(self.average)
        try:
            yield
        finally:
            self.module.load_state_dict(own)

    def load(self, average: dict[str, Tensor]) -> None:
        """Continue from a checkpoint."""
        for name, value in average.items():
            self.average[name].copy_(value)
