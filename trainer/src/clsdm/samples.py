"""Samples of the posterior: one volume, or an ensemble's mean and standard deviation, drawn some at a time."""

import numpy as np
import torch
from torch import Tensor

from clsdm.model.clsdm import CLSDM
from clsdm.model.condition import Condition
from clsdm.options import Options
from clsdm.progress import Report
from clsdm.quality.measure import measure
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import unit_to_hu


def draw(
    model: CLSDM, condition: Condition, options: Options, report: Report
) -> tuple[Tensor, Tensor | None, list[dict[str, float]]]:
    """Draw the sample or the ensemble that is wanted.

    Args:
        model: the networks.
        condition: of one set of X-rays.
        options: product, samples, how many at once, steps, seed.
        report: progress.

    Returns:
        (n, n, n) HU of the sample or of the ensemble's mean; the ensemble's standard deviation in HU, or None; and what is
        measured in each of its samples, if wanted.
    """
    count = options.samples if options.product == "ensemble" else 1
    total = torch.zeros([model.config.grid.size] * 3, dtype=torch.float64, device=condition.mean.device)
    squares = torch.zeros_like(total)
    values = []
    for first in range(0, count, options.at_once):
        batch = range(first, min(first + options.at_once, count))
        for hu in _volumes(model, condition, options, batch, count, report).double():
            total, squares = total + hu, squares + hu.square()
            if options.measure and count > 1:
                values.append(measure(CTVolume.on_grid(hu.float().cpu().numpy(), model.config.grid)).values)
    mean = total / count
    if options.product == "sample":
        return mean.float(), None, values
    variance = (squares / count - mean.square()).clamp_min(0.0) * count / (count - 1)
    return mean.float(), variance.sqrt().float(), values


def _volumes(
    model: CLSDM, condition: Condition, options: Options, numbers: range, count: int, report: Report
) -> Tensor:
    """(K, n, n, n) HU of the samples with these numbers; each has its own noise, whatever it is drawn beside."""
    noise = torch.stack([sample_noise(model, options.seed, number) for number in numbers]).to(condition.mean)
    repeated = condition.repeated(len(noise))
    steps = options.steps or model.config.process.steps

    def tick(done: int, total: int) -> None:
        report("sample", numbers.start * steps + done * len(noise), count * steps)

    hu = unit_to_hu(model.decode(model.draw(repeated, noise, steps, tick)))[:, 0]
    report("decode", numbers.stop, count)
    return hu


def sample_noise(model: CLSDM, seed: int, number: int) -> Tensor:
    """Unit Gaussian noise (``model.noise_shape``) that depends on seed and number only, drawn on the CPU for every device."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, number))))
    return torch.from_numpy(generator.standard_normal(model.noise_shape, dtype=np.float32))
