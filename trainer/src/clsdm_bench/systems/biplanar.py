"""Two X-rays as the parallel-ray baselines see them: the frontal first, axes along the volume's, no geometry."""

import torch
from torch import Tensor

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras


def biplanar(images: Tensor, cameras: Cameras) -> Tensor:
    """Intensities of one frontal and one lateral view, turned so that their axes are those of the volume.

    The virtual detector is taken to span the cube, as these methods do (docs/method.md, 2.4).

    Args:
        images: (B, 2, 2, size, size) intensity and mask, in any order of the views.
        cameras: of the images.

    Returns:
        (B, 2, 1, size, size): frontal (z, x), then lateral (z, y).

    Raises:
        InputError: not exactly one frontal and one lateral view.
    """
    across = cameras.right[..., 0].abs() > cameras.right[..., 1].abs()  # columns run along x: frontal
    if images.shape[1] != 2 or bool((across.sum(1) != 1).any()):
        raise InputError(f"X-rays: this method needs one frontal and one lateral view, got {images.shape[1]} views")
    facing = torch.where(across, cameras.right[..., 0], cameras.right[..., 1])
    turned = images[:, :, :1].flip(-2)  # rows run to the feet, z to the head
    turned = torch.where((facing > 0.0)[..., None, None, None], turned, turned.flip(-1))
    first = across.int().argmax(1)
    batch = torch.arange(len(images), device=images.device)
    return torch.stack((turned[batch, first], turned[batch, 1 - first]), dim=1)


def replicated(images: Tensor, size: int) -> Tensor:
    """(B, 2, C, rows, cols) images of :func:`biplanar` -> (B, 2C, z, y, x), each repeated along its rays."""
    frontal, lateral = images.unbind(1)
    shape = (*frontal.shape[:2], size, size, size)
    return torch.cat((frontal[:, :, :, None, :].expand(shape), lateral[..., None].expand(shape)), dim=1)
