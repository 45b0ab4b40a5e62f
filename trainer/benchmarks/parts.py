"""Choices inside the program against their alternatives: ``--part layers``, ``muon``, ``reading`` or ``writing``.

layers: activations lie with their channels last, as the networks hand them on; torch's GroupNorm against ours, which is
differentiated with the channels first, and convolution weights with their channels first against last.
muon: rounds on the small square of a kernel (ours) against rounds on the whole of it, as ``torch.optim.Muon`` takes them in
bfloat16; the error is the distance to the float64 result, in the largest singular value.
reading: the store's memory-mapped ``.npy`` against NIfTI, from the page cache: formats are compared, not disks.
writing: a CT in pieces at several levels of compression, against ITK in one call.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
import torch
from measuring import Comparison, main
from synthetic import phantom_hu, synthetic_store
from torch import Tensor, nn

from clsdm.model.blocks import GroupNorm, VoxelNorm, channels_last, conv
from clsdm.volume import write as image_write
from clsdm.volume.ct import Grid
from clsdm_trainer.config import PlacementConfig
from clsdm_trainer.optim import NEWTON_SCHULZ, ROUNDS, orthogonal
from clsdm_trainer.precision import has_fast_bfloat16

MIB = 2**20


def layers(smoke: bool, device: torch.device) -> Iterator[Comparison]:
    """Forward and backward of layers in two layouts."""
    size, channels = (8 if smoke else 64), 16
    kind = torch.bfloat16 if has_fast_bfloat16(device) else torch.float32
    x = torch.randn(4, channels, size, size, size, device=device, dtype=kind)
    x = x.contiguous(memory_format=torch.channels_last_3d).requires_grad_()

    def both_ways(layer: nn.Module) -> None:
        x.grad = None
        y = layer(x)
        y.backward(torch.ones_like(y))

    alternatives = {
        "GroupNorm (torch)": nn.GroupNorm(8, channels), "GroupNorm (ours)": GroupNorm(8, channels),
        "VoxelNorm": VoxelNorm(channels), "convolution, weights first": conv(3, channels, channels),
        "convolution, weights last": channels_last(conv(3, channels, channels)),
    }  # fmt: skip
    names = list(alternatives)
    calls = {name: partial(both_ways, layer.to(device, kind)) for name, layer in alternatives.items()}
    yield Comparison(f"{tuple(x.shape)} {kind}", calls, [(names[0], names[1]), (names[1], names[2]), (*names[3:],)])


def on_the_matrix(matrix: Tensor, kind: torch.dtype) -> Tensor:
    """Muon's direction of a wide matrix, every round on the whole of it."""
    a, b, c = NEWTON_SCHULZ
    x = (matrix / matrix.norm()).to(kind)
    for _ in range(ROUNDS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.to(matrix.dtype)


def muon(smoke: bool, device: torch.device) -> Iterator[Comparison]:
    """Orthogonal directions of kernels of 3³ voxels."""
    for channels in (4,) if smoke else (64, 128, 192):
        matrix = torch.randn(channels, 27 * channels, device=device)
        calls: dict[str, Callable[[], Tensor]] = {
            "ours": partial(orthogonal, matrix),
            "on the matrix, bfloat16": partial(on_the_matrix, matrix, torch.bfloat16),
            "on the matrix, float32": partial(on_the_matrix, matrix, torch.float32),
        }
        exact = on_the_matrix(matrix.double(), torch.float64)
        errors = {name: {"error": float(torch.linalg.matrix_norm(call() - exact, 2))} for name, call in calls.items()}
        ratios = [(name, "ours") for name in calls if name != "ours"]
        yield Comparison(f"{channels} channels", calls, ratios, facts=lambda errors=errors: errors)


def reading(smoke: bool, device: torch.device) -> Iterator[Comparison]:
    """One volume as an array in memory."""
    size = 16 if smoke else 144
    with tempfile.TemporaryDirectory() as folder:
        store = synthetic_store(Path(folder) / "store", Grid(size, 320.0 / size), PlacementConfig(margin=0), 1)
        (case,) = store.cases("train")
        image = sitk.GetImageFromArray(np.array(store.volume(case)))
        files = {kind: str(Path(folder) / f"volume{kind}") for kind in (".nii", ".nii.gz")}
        for kind, name in files.items():
            sitk.WriteImage(image, name, useCompression=kind == ".nii.gz")
        calls = {"store": lambda: np.array(store.volume(case))}
        calls |= {k: lambda name=name: sitk.GetArrayFromImage(sitk.ReadImage(name)) for k, name in files.items()}
        if not all(np.array_equal(call(), store.volume(case)) for call in calls.values()):
            raise SystemExit("one of the formats holds other voxels than the store")
        yield Comparison(f"{size}³ int16", calls, [(name, "store") for name in files])


def writing(smoke: bool, device: torch.device) -> Iterator[Comparison]:
    """A noisy body as ``.nii.gz``."""
    hu = phantom_hu(np.random.default_rng(0), 16 if smoke else 128)
    placed = image_write.Placed((2.5, 2.5, 2.5), (0.0, 0.0, 0.0), np.eye(3).tolist())

    def ours(path: Path, level: int) -> None:
        with mock.patch.object(image_write, "LEVEL", level):
            for _ in image_write.volume_in_steps(path, hu, placed):
                pass

    with tempfile.TemporaryDirectory() as folder:
        files = {f"in pieces, level {level}": level for level in (1, image_write.LEVEL, 6)} | {"ITK": 0}
        paths = {name: Path(folder) / f"{level}.nii.gz" for name, level in files.items()}
        calls: dict[str, Callable[[], object]] = {
            name: partial(ours, paths[name], level) for name, level in files.items() if level
        }
        image = sitk.GetImageFromArray(hu)
        calls["ITK"] = lambda: sitk.WriteImage(image, str(paths["ITK"]), useCompression=True)
        own = f"in pieces, level {image_write.LEVEL}"
        yield Comparison(
            f"{hu.shape} int16", calls, [(name, own) for name in calls if name != own],
            facts=lambda: {name: {"MiB": path.stat().st_size / MIB} for name, path in paths.items()},
        )  # fmt: skip


PARTS = {part.__name__: part for part in (layers, muon, reading, writing)}


def comparisons(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """Of the parts that were asked for."""
    for name in arguments.part:
        yield from PARTS[name](arguments.smoke, device)


if __name__ == "__main__":
    main(__doc__, comparisons, {"part": {"nargs": "+", "choices": PARTS, "default": list(PARTS)}}, rounds=10)
