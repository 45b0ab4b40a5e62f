"""From noise to latents: few-step flows (ours) and DPM-Solver++ 2M (published).

A sampler sees only a function of (state, time); it knows nothing of X-rays or networks.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from clsdm.model.schedule import DiffusionSchedule

Predict = Callable[[Tensor, Tensor], Tensor]
"""(state (B, ...), time (B,)) -> prediction of the state's shape."""

Tick = Callable[[int, int], None]
"""Called with (steps done, steps in all) after each step; may raise ``Cancelled``."""


def silent(done: int, total: int) -> None:
    """No progress wanted."""


def sample_flow(velocity: Predict, start: Tensor, steps: int, tick: Tick = silent, length: float = 1.0) -> Tensor:
    """Integrate dx/dt = length * velocity(x, t) from t = 0 to 1 with ``steps`` Euler steps (paths are nearly straight, or arcs).

    Args:
        velocity: the learned velocity field.
        start: (B, ...) state at t = 0.
        steps: function evaluations.
        tick: progress.
        length: of the paths, ``FlowSchedule.length`` or ``TrigSchedule.length``.

    Returns:
        State at t = 1.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"sampler: expected at least 1 step, got {steps}")
    x = start
    for index in range(steps):
        t = torch.full((len(x),), index / steps, device=x.device)
        x = x + length * velocity(x, t) / steps
        tick(index + 1, steps)
    return x


def sample_dpmpp_2m(
    noise: Predict, schedule: DiffusionSchedule, start: Tensor, steps: int, tick: Tick = silent
) -> Tensor:
    """DPM-Solver++ 2M (Lu et al. 2022, algorithm 2) for a noise-predicting network.

    Args:
        noise: predicts the noise in the state; called with time = discrete step / train_steps.
        schedule: the diffusion.
        start: (B, ...) unit Gaussian noise, the state at the last discrete step.
        steps: function evaluations.
        tick: progress.

    Returns:
        The data prediction at the end of the path.

    Raises:
        ValueError: fewer than one step, or more than the diffusion has.
    """
    if not 1 <= steps <= schedule.train_steps:
        raise ValueError(f"sampler: expected 1 ... {schedule.train_steps} steps, got {steps}")
    alphas = schedule.alphas_cumprod(start.device)
    # Whole numbers throughout: rounding would name a step twice where steps = train_steps, and divide 0 by 0 below.
    indices = (schedule.train_steps - 1) * torch.arange(steps, 0, -1, device=start.device) // steps
    alpha, sigma = alphas[indices].sqrt(), (1.0 - alphas[indices]).sqrt()
    log_snr = (alpha / sigma).log()
    x, previous, data = start, start, start
    for i, index in enumerate(indices):
        t = torch.full((len(x),), float(index) / schedule.train_steps, device=x.device)
        data = (x - sigma[i] * noise(x, t)) / alpha[i]
        if i + 1 < steps:
            h = log_snr[i + 1] - log_snr[i]
            ratio = (log_snr[i] - log_snr[i - 1]) / h if i else None
            blend = data if ratio is None else (1.0 + 0.5 / ratio) * data - (0.5 / ratio) * previous
            x = sigma[i + 1] / sigma[i] * x - alpha[i + 1] * torch.expm1(-h) * blend
        previous = data
        tick(i + 1, steps)
    return data
