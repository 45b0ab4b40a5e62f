"""Who makes the volumes of many patients, and with which model: this computer, or a server (``remote``).

torch is imported where this computer does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from clsdm import __version__
from clsdm.app.share import take_own_gpu
from clsdm.app.warm import WARM
from clsdm.options import Options
from clsdm.progress import silent
from clsdm.result import Reconstruction
from clsdm.xray.image import XRay

if TYPE_CHECKING:
    from clsdm.model.bundle import Bundle

Look = Callable[[], Reconstruction]
"""Gives the reconstruction, in any thread."""


@dataclass(frozen=True)
class Maker:
    """Makes volumes with a model.

    Attributes:
        sha256: of the model's weights.
        version: of the program that makes them, and of the one that reads the X-rays where it is another.
        files: of the model on this computer, which must not be written over.
        work: has the networks work on the X-rays of one patient.
    """

    sha256: str
    version: str
    files: tuple[Path, ...]
    work: Callable[[Sequence[XRay], Options], Look]


def this_computer(bundle: Bundle) -> Maker:
    """This process, in which the model stays loaded; where torchrun has started one for each GPU, on the one that is meant."""
    from clsdm.reconstruction import choose_device, networks_first

    def work(xrays: Sequence[XRay], options: Options) -> Look:
        try:
            model = WARM.model(bundle, choose_device(options.device), silent)
            return networks_first(xrays, bundle, options, model=model)
        except (RuntimeError, MemoryError):  # memory, mostly: the next patient finds all of it free
            WARM.forget()
            raise

    take_own_gpu(os.environ)
    return Maker(bundle.hash, __version__, bundle.paths, work)
