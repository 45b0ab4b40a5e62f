"""Imports that the first click would wait for, made before it: the core's parts that Slicer itself runs, pydicom and Pillow.

pydicom is one import of 0.2 s, which cannot be cut, and so is done aside.
"""

import contextlib
import importlib
from collections.abc import Iterator

from CLSDMReconstructionLib.base.CorePath import ensureCore
from CLSDMReconstructionLib.base.Steps import aside

NEEDED = (
    "clsdm.xray.read",
    "clsdm.quality.picture",
    "clsdm.volume.write",
    "clsdm.volume.write_dicom",
    "PIL.ImageDraw",
    "PIL.ImageFont",
)


def preload(names: tuple[str, ...] = NEEDED) -> Iterator[float]:
    """Import these, some milliseconds in each step; what cannot be imported is left to whoever needs it."""
    ensureCore()
    for name in names:
        with contextlib.suppress(ImportError):
            yield from aside(lambda name=name: importlib.import_module(name))
