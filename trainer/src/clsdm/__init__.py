"""CLS-DM: reconstruct a CT volume from a few X-rays by latent diffusion aligned between the two modalities.

Research only; not a medical device. ``clsdm.reconstruct("pa.dcm", "lateral.dcm")`` does it; how it is done begins in
:mod:`clsdm.reconstruction`. What is in ``__all__`` is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clsdm.app.library import Result, compare, measure, reconstruct
    from clsdm.app.request import ViewRequest
    from clsdm.errors import Cancelled, InputError
    from clsdm.volume.ct import CTVolume
    from clsdm.volume.read import read_ct
    from clsdm.xray.image import XRay
    from clsdm.xray.read import GeometryOverrides, read_xray

__version__ = "0.1.0"

NOTICE = "Research only. Not a medical device; not for diagnosis or treatment."
"""On everything that is made: bundles, volumes, records, pictures, reports."""

__all__ = [
    "NOTICE",
    "CTVolume",
    "Cancelled",
    "GeometryOverrides",
    "InputError",
    "Result",
    "ViewRequest",
    "XRay",
    "compare",
    "measure",
    "read_ct",
    "read_xray",
    "reconstruct",
]

_HOMES = {
    "app.library": ("Result", "compare", "measure", "reconstruct"),
    "app.request": ("ViewRequest",),
    "errors": ("Cancelled", "InputError"),
    "volume.ct": ("CTVolume",),
    "volume.read": ("read_ct",),
    "xray.image": ("XRay",),
    "xray.read": ("GeometryOverrides", "read_xray"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'clsdm' has no attribute {name!r}")
    found = getattr(importlib.import_module(f"clsdm.{home}"), name)
    return found if isinstance(found, type) else importlib.import_module("clsdm.app.words").for_python(found)
