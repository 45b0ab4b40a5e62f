"""Reading volumes: the store's memory-mapped ``.npy`` against NIfTI, compressed and not, in turn.

All files were just written, so they come from the page cache: what is compared is the format, not the disk. Training
itself reads every volume once and keeps all of them on the device (``batches.TrainingData``).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
import torch
from measuring import MIB, Ratio, finish, interleaved, parser, start
from synthetic import synthetic_store

from clsdm.volume.ct import Grid
from clsdm_trainer.config import PlacementConfig
from clsdm_trainer.data.store import Store

STORE = "store (.npy, checked)"


def readers(store: Store, folder: Path) -> dict[str, Callable[[], np.ndarray]]:
    """Ways to get the first volume as an array in memory."""
    case = store.cases("train")[0]
    image = sitk.GetImageFromArray(np.array(store.volume(case)))
    image.SetSpacing([store.grid.spacing_mm] * 3)
    files = {suffix: str(folder / f"volume{suffix}") for suffix in (".nii.gz", ".nii")}
    for name in files.values():
        sitk.WriteImage(image, name, useCompression=name.endswith(".gz"))

    def nifti(name: str) -> np.ndarray:
        return sitk.GetArrayFromImage(sitk.ReadImage(name))

    return {
        STORE: lambda: np.array(store.volume(case)),
        **{f"NIfTI {suffix} (SimpleITK)": lambda name=name: nifti(name) for suffix, name in files.items()},
    }


def command_line() -> argparse.Namespace:
    """The options."""
    options = parser(__doc__)
    options.add_argument("--size", type=int, default=144, help="voxels along the edge of a stored volume")
    return options.parse_args()


def main() -> None:
    """Measure and print."""
    arguments = command_line()
    start(arguments)
    device = torch.device("cpu")  # reading is the processor's
    arguments.rounds = arguments.rounds or (2 if arguments.smoke else 50)
    size = 16 if arguments.smoke else arguments.size
    with tempfile.TemporaryDirectory() as folder:
        data = PlacementConfig(margin=0)
        store = synthetic_store(Path(folder) / "store", Grid(size, 320.0 / size), data, 1)
        calls = readers(store, Path(folder))
        reference = calls[STORE]()
        for name, call in calls.items():
            if not np.array_equal(call(), reference):
                raise SystemExit(f"{name}: reads other voxels than the store")
        seconds = interleaved(calls, arguments.rounds, device)
    rows = [
        {"format": name, "ms a read": 1e3 * statistics.median(values), "MiB": reference.nbytes / MIB}
        for name, values in seconds.items()
    ]
    ratios = [Ratio.of(f"{name} / store", values, seconds[STORE]) for name, values in seconds.items() if name != STORE]
    finish("loader", arguments, device, {f"{size}³ int16, page cache": rows}, ratios)


if __name__ == "__main__":
    main()
