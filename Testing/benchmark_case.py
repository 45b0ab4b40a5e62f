"""Surroundings of the benchmark where the machine has none: a public CT, a large DICOM database, a user who agrees."""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import slicer
from fakes import FakeDatabase


@contextlib.contextmanager
def sampleCase() -> Iterator[None]:
    """The CT is in the cache, or something of its size is in its place."""
    from CLSDMReconstructionLib.xrays import SampleCase

    there = SampleCase.cachedCase
    with tempfile.TemporaryDirectory() as folder:
        if not there().exists():
            path = Path(folder) / SampleCase.FILE
            writeNoise(path)
            SampleCase.cachedCase, SampleCase.SHA256 = lambda: path, hashlib.sha256(path.read_bytes()).hexdigest()
        yield
        SampleCase.cachedCase = there


def writeNoise(path: Path) -> None:
    """NIfTI of 512 x 512 x 133 voxels: a noisy cylinder in air."""
    rows, columns = np.mgrid[-256:256, -256:256]
    noise = np.random.default_rng(0).integers(-20, 20, (133, 512, 512))
    image = sitk.GetImageFromArray((np.where(rows**2 + columns**2 < 200**2, 40, -1000) + noise).astype(np.int16))
    image.SetSpacing((0.7, 0.7, 2.5))
    sitk.WriteImage(image, str(path), True, 1)


@contextlib.contextmanager
def largeDatabase() -> Iterator[None]:
    """A DICOM database of 600 studies instead of Slicer's own; every question takes a millisecond."""
    names = [f"{number}" for number in range(600)]
    own = getattr(slicer, "dicomDatabase", None)
    series = {
        name: {
            f"{name}.{one}": ("DX" if one == 0 == int(name) % 6 else "CT", [f"{name}.{one}.dcm"]) for one in range(3)
        }
        for name in names
    }
    slicer.dicomDatabase = FakeDatabase({name: ("2024-01-01", series[name]) for name in names}, delayS=0.001)
    yield
    slicer.dicomDatabase = own


@contextlib.contextmanager
def agreeing() -> Iterator[None]:
    """A user who answers every question with OK."""
    own = slicer.util.confirmOkCancelDisplay
    slicer.util.confirmOkCancelDisplay = lambda *_arguments, **_options: True
    yield
    slicer.util.confirmOkCancelDisplay = own
