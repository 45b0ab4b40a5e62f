"""How alike the left and the right half of a body are, which tells the angle between two views.

Some volume explains any two views that agree height by height, whatever angle is said to lie between them; given a wrong
one, it is sheared, and a trunk that was nearly symmetric no longer is. Volumes are (z, y, x).
"""

import math

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from torch import Tensor

SIZE = 64
"""Voxels along an edge that are looked at; finer ones are averaged."""
LIMITED_HU = (-1000.0, 300.0)
"""Bone, which is thin, would outweigh the rest."""
TURNS_DEG, USUAL_TURN_DEG = tuple(range(-4, 5)), 1.5
"""How far the plane of symmetry may be turned in a patient who was told to stand straight, and usually is."""
SHIFTS = tuple(0.02 * step for step in range(-8, 9))
"""Of the plane from the middle, in half edges of the cube."""
TURN_WEIGHT = 0.02
"""Of a usual turn, against relative differences of asymmetry."""


def asymmetry(hu: Tensor) -> float:
    """Logarithm of the root mean square difference, in HU, from the mirror image about the best plane.

    Args:
        hu: (n, n, n), x to the patient's left or right.

    Returns:
        The least over shifted and turned sagittal planes, a turn costing ``TURN_WEIGHT`` times its usual size squared.
    """
    limited = hu[None, None].float().clamp(*LIMITED_HU)
    volume = F.avg_pool3d(limited, max(1, hu.shape[-1] // SIZE))[0, 0]
    shift = min(SHIFTS, key=lambda each: _difference(volume, 0.0, each))
    around = (shift - 0.01, shift, shift + 0.01)
    return min(
        math.log(max(1e-6, min(_difference(volume, turn, each) for each in around)))
        + TURN_WEIGHT * (turn / USUAL_TURN_DEG) ** 2
        for turn in TURNS_DEG
    )


def _difference(volume: Tensor, turned_deg: float, shift: float) -> float:
    """Root mean square of a volume less its mirror image: each slice an image, all of them sampled alike."""
    x, y = math.cos(math.radians(turned_deg)), math.sin(math.radians(turned_deg))  # the plane's normal
    mirror = torch.tensor([[1 - 2 * x * x, -2 * x * y, 2 * shift * x], [-2 * x * y, 1 - 2 * y * y, 2 * shift * y]])
    grid = F.affine_grid(mirror[None].to(volume), [1, 1, *volume.shape[1:]], align_corners=False)
    mirrored = F.grid_sample(volume[None], grid, align_corners=False, padding_mode="border")[0]
    return float((volume - mirrored).square().mean().sqrt())
