"""Writing a CT: ``clsdm.volume.write``, which goes on in pieces, at several levels of compression, against ITK in one call.

What a user sees of it, the longest stop of Slicer's window, is measured by ``Testing/benchmark_module.py``.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
import torch
from measuring import MIB, Ratio, finish, interleaved, parser, start

from clsdm.volume import write as image_write

LEVELS = (1, image_write.LEVEL, 6)
NOISE_HU = 20.0
PLACED = image_write.Placed((2.5, 2.5, 2.5), (0.0, 0.0, 0.0), np.eye(3).tolist())


def noisy_body(size: int) -> np.ndarray:
    """(n, n, n) int16 HU: a cylinder of water in air, with the noise of a CT."""
    at = np.linspace(-1.0, 1.0, size)
    inside = at[None, :, None] ** 2 + at[None, None, :] ** 2 < 0.6
    noise = np.random.default_rng(0).normal(0.0, NOISE_HU, (size, size, size))
    return (np.where(inside, 0.0, -1000.0) + noise).round().astype(np.int16)


def writers(hu: np.ndarray, folder: Path) -> dict[str, tuple[Path, Callable[[], None]]]:
    """The file of each alternative, and what writes it."""

    def ours(path: Path, level: int) -> None:
        with mock.patch.object(image_write, "LEVEL", level):
            for _ in image_write.volume_in_steps(path, hu, PLACED):
                pass

    def itk(path: Path) -> None:
        image = sitk.GetImageFromArray(hu)
        image.SetSpacing(PLACED.spacing_mm)
        sitk.WriteImage(image, str(path), useCompression=True)

    found: dict[str, tuple[Path, Callable[[], None]]] = {}
    for level in LEVELS:
        path = folder / f"level{level}.nii.gz"
        found[f"in pieces, level {level}"] = path, lambda path=path, level=level: ours(path, level)
    path = folder / "itk.nii.gz"
    found["ITK"] = path, lambda: itk(path)
    return found


def command_line() -> argparse.Namespace:
    """The options."""
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=128, help="voxels along an edge")
    return options.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = command_line()
    start(arguments)
    device = torch.device("cpu")
    size = 16 if arguments.smoke else arguments.size
    hu = noisy_body(size)
    with tempfile.TemporaryDirectory() as folder:
        found = writers(hu, Path(folder))
        seconds = interleaved(
            {name: call for name, (_, call) in found.items()}, arguments.rounds or (2 if arguments.smoke else 5), device
        )
        rows = [
            {"writer": name, "s": statistics.median(seconds[name]), "MiB": path.stat().st_size / MIB}
            for name, (path, _) in found.items()
        ]
    own = seconds[f"in pieces, level {image_write.LEVEL}"]
    ratios = [Ratio.of(f"{name} / ours", values, own) for name, values in seconds.items() if values is not own]
    finish("writing", arguments, device, {f"{size}³ int16 as .nii.gz": rows}, ratios)


if __name__ == "__main__":
    main()
