"""The part of a reconstruction that its X-rays fix, as a volume; the rest came from other patients."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clsdm.app.record import recorded_views
from clsdm.errors import InputError
from clsdm.files.atomic import written_together
from clsdm.files.names import refuse_overwriting, refuse_replacing
from clsdm.geometry.view import Detector, View
from clsdm.model.consistency import fixed_by_views
from clsdm.quality.reprojection import FIELD_PER_CUBE
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume, is_canonical
from clsdm.volume.hu import WINDOW_HU
from clsdm.volume.write import note_of, write_ct
from clsdm.xray.preprocess import cameras_for, panel_mask

NOTE = "clsdm: the part of a reconstruction that its X-rays fix"
"""In the file's header, by which it is known again."""
OTHERS_LEGEND = (
    "What leaves no trace in the X-rays: it was filled in from other patients (red more, blue less than the X-rays tell). Where "
    "it is strong, the volume shows what patients usually look like there, not this one."
)
LAYER_LEGEND = (
    "How much of each voxel leaves no trace in the X-rays, in HU, whatever its sign: it was filled in from other patients. Where "
    "it is strong, the volume shows what patients usually look like there, not this one. Of the contrast inside the body the "
    "X-rays fix {share:.0%}."
)
FIXED_LEGEND = (
    "What the X-rays fix, in HU: inside the body, what they tell of its difference from water. Any volume with the same X-rays "
    "has this part in common; what the reconstruction shows and this volume does not leaves no trace in the X-rays and was "
    "filled in from other patients. Of the contrast inside the body the X-rays fix {share:.0%}."
)


def fixed_part(ct: CTVolume, views: tuple[View, ...]) -> tuple[CTVolume, float]:
    """The part of a reconstruction that its X-rays fix.

    Args:
        ct: a cube along LPS around the isocentre.
        views: of its X-rays; every pixel of their panels counts as measured.

    Returns:
        HU, water and that part inside the body and air around it; and its share of the whole difference (of the sum of squares).

    Raises:
        InputError: the volume is no such cube.
    """
    if not is_canonical(ct):
        raise InputError(f"{ct.source}: expected a cube of cubic voxels along LPS, as clsdm reconstruct writes it")
    body = body_mask(ct.hu, 2)
    inside = torch.from_numpy(np.where(body, ct.hu, 0.0).astype(np.float32))[None, None]
    size = ct.hu.shape[0]
    detector = Detector(2 * size, FIELD_PER_CUBE * ct.spacing_mm[0] * size)
    seen = panel_mask([list(views)], detector)
    fixed = fixed_by_views(inside, seen, cameras_for([list(views)], detector), ct.spacing_mm[0])
    share = float(fixed.square().sum() / inside.square().sum().clamp_min(1e-6))
    hu = np.where(body, fixed[0, 0].numpy(), WINDOW_HU[0]).astype(np.float32)
    return replace(ct, hu=hu, notes=()), min(share, 1.0)


def from_others(ct: CTVolume, fixed: CTVolume) -> CTVolume:
    """The rest of a reconstruction, which leaves no trace in its X-rays: HU beyond the fixed part, 0 outside the body."""
    return replace(ct, hu=np.where(body_mask(ct.hu, 2), ct.hu - fixed.hu, 0.0).astype(np.float32), notes=())


def write_fixed(ct: CTVolume, made: dict[str, Any], out: Path, inputs: Iterable[Path]) -> dict[str, Any]:
    """Write it; returns the file, the share and the legend.

    Raises:
        InputError: no record tells the views, or the file cannot be written, or is an input, or is there and is no such part.
    """
    views = recorded_views(made, ct.source)
    refuse_overwriting([out], inputs)
    refuse_replacing([out], lambda file: note_of(file) == NOTE)
    part, share = fixed_part(ct, views)
    with written_together(out.parent, (), 2 * part.hu.size) as scratch:
        write_ct(part, scratch / out.name, note=NOTE)
    return {"file": str(out), "share": share, "legend": FIXED_LEGEND.format(share=share)}
