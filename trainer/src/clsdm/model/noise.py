"""Noise like the errors of the estimate: as large where it is unsure, and as smooth.

A flow may start from any distribution (Albergo & Vanden-Eijnden, ICLR 2023). White noise in the latents is blocks in the CT,
which a denoiser has to learn to take away first. Errors of an estimate from X-rays are large at the borders of organs and
small in air, and hold little of what is fine: noise with their scale and their power spectrum, drawn in the CT, is a first
guess of all that sampling has to add, and what the denoiser learns is how the errors of this patient are not like noise.
"""

import torch
from torch import Tensor

SCALES = 33
"""Values of the estimate, from one end of the unit range to the other, for which the size of its error is known."""

LEAST_SCALE = 0.004
"""Of the unit range, 5 HU: below it an error is not enlarged to unit size when its spectrum is measured."""


def frequencies(size: int) -> int:
    """How many radii the spectrum of a cube of ``size`` voxels has."""
    return round(3.0**0.5 * (size // 2)) + 1


def scale_of(unit: Tensor, scale: Tensor) -> Tensor:
    """The standard deviation of the error where the estimate has these values, between those that are known.

    Args:
        unit: estimate in the unit range, any shape.
        scale: (``SCALES``,) standard deviations.
    """
    below, part = _between(unit)
    return torch.lerp(scale[below], scale[below + 1], part)


def like_errors(white: Tensor, unit: Tensor, scale: Tensor, spectrum: Tensor) -> Tensor:
    """Noise in the unit range that is like errors of an estimate.

    Args:
        white: (B, 1, n, n, n) unit Gaussian noise.
        unit: (B, 1, n, n, n) the estimate.
        scale: (``SCALES``,) as measured.
        spectrum: (``frequencies(n)``,) power at each radius, in cycles per cube, of errors of unit size.
    """
    gain = spectrum.sqrt()[_radii(white.shape[-1], white.device)]
    smooth = torch.fft.irfftn(torch.fft.rfftn(white.float(), dim=(2, 3, 4)) * gain, s=white.shape[2:], dim=(2, 3, 4))
    return scale_of(unit, scale) * smooth


class ErrorStatistics:
    """Collects the scale, and then, in a second pass, the spectrum of errors.

    Args:
        size: voxels along the edge of the cube.
    """

    def __init__(self, size: int, device: torch.device | str = "cpu") -> None:
        self.squares, self.weights = torch.zeros(2, SCALES, dtype=torch.float64, device=device)
        self.power, self.count = torch.zeros(2, frequencies(size), dtype=torch.float64, device=device)

    def add_scale(self, unit: Tensor, error: Tensor, known: Tensor) -> None:
        """Of estimates and their errors (B, 1, n, n, n), where the truth is ``known``."""
        below, part = _between(unit)
        for bins, weight in ((below, 1.0 - part), (below + 1, part)):
            weight = (weight * known).double().flatten()
            self.weights.index_add_(0, bins.flatten(), weight)
            self.squares.index_add_(0, bins.flatten(), weight * error.double().square().flatten())

    @property
    def scale(self) -> Tensor:
        """(``SCALES``,) standard deviations; of values that never occurred, that of the nearest one that did."""
        seen = (self.weights > 0.0).nonzero()[:, 0]
        every = torch.arange(SCALES, device=seen.device)
        nearest = seen[(every[:, None] - seen[None]).abs().argmin(1)]
        return (self.squares / self.weights.clamp_min(1e-12)).sqrt()[nearest].float()

    def add_spectrum(self, unit: Tensor, error: Tensor, known: Tensor) -> None:
        """Of the same, after the scale is complete; what is not known counts as no part of the volume."""
        even = error.float() * known / scale_of(unit, self.scale).clamp_min(LEAST_SCALE)
        size, voxels = even.shape[-1], known.float().sum((1, 2, 3, 4))
        power = torch.fft.rfftn(even[:, 0], dim=(1, 2, 3)).abs().square() / voxels.clamp_min(1.0).view(-1, 1, 1, 1)
        radii, stands_for = _radii(size, power.device).flatten(), _stands_for(size, power.device)
        for each in power.double()[voxels > 0.0]:  # nothing known: no spectrum, rather than one of 0
            self.power.index_add_(0, radii, (each * stands_for).flatten())
            self.count.index_add_(0, radii, stands_for.expand_as(each).flatten())

    @property
    def spectrum(self) -> Tensor:
        """(``frequencies(n)``,) mean power at each radius."""
        return (self.power / self.count.clamp_min(1.0)).float()


def _between(unit: Tensor) -> tuple[Tensor, Tensor]:
    """The known value below each, and how far it lies towards the next one."""
    place = (unit.float().clamp(-1.0, 1.0) + 1.0) * (0.5 * (SCALES - 1))
    below = place.floor().clamp(max=SCALES - 2)
    return below.long(), place - below


def _radii(size: int, device: torch.device) -> Tensor:
    """(n, n, n // 2 + 1) distance of each frequency from 0, in whole cycles per cube."""
    whole = torch.fft.fftfreq(size, 1.0 / size, device=device)
    half = torch.fft.rfftfreq(size, 1.0 / size, device=device)
    return (whole[:, None, None].square() + whole[None, :, None].square() + half.square()).sqrt().round().long()


def _stands_for(size: int, device: torch.device) -> Tensor:
    """(n // 2 + 1,) how many frequencies of the whole spectrum each of the half stands for, along its last axis.

    One whose conjugate is in the half too, at 0 and at the end of an even axis, stands for itself alone; any other for both. A
    lateral X-ray fixes the plane at 0, of which errors hold little.
    """
    count = torch.full((size // 2 + 1,), 2.0, dtype=torch.float64, device=device)
    count[0] = 1.0
    if size % 2 == 0:
        count[-1] = 1.0
    return count
