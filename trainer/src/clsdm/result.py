"""What comes of X-rays (:mod:`clsdm.reconstruction`), for whoever writes or shows it. No torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clsdm.geometry.view import View, view_name
from clsdm.quality.agreement import Reprojection
from clsdm.volume.ct import CTVolume

if TYPE_CHECKING:
    from clsdm.hanging import Hanging


@dataclass(frozen=True)
class Reconstruction:
    """A volume from X-rays, with all that belongs to it.

    Attributes:
        volume: HU on the model's cube, placed around the isocentre (LPS).
        coverage: number of views whose measured rays cross each voxel, on the same cube.
        spread: standard deviation in HU over the samples of an ensemble, else None.
        residuals: the volume's own projections against the X-rays.
        warnings: what the user should know.
        provenance: model, hash, product, seed, steps, software; plain JSON types.
        views: of the X-rays, as they were used.
        measures: what was measured in the volume, with intervals where the model has a table of its errors
            (``quality.numbers``); plain JSON types, None where it was not asked for.
        hanging: how the X-rays seem to hang otherwise than was taken, None where they do not.
    """

    volume: CTVolume
    coverage: CTVolume
    spread: CTVolume | None
    residuals: tuple[Reprojection, ...]
    warnings: tuple[str, ...] = ()
    provenance: dict[str, Any] = field(default_factory=dict)
    views: tuple[View, ...] = ()
    measures: dict[str, Any] | None = None
    hanging: Hanging | None = None

    def __repr__(self) -> str:
        """Short: grid, product and model, verdict on each X-ray, and how many warnings there are."""
        made, size = self.provenance, " x ".join(map(str, self.volume.hu.shape[::-1]))
        spacing = " x ".join(f"{edge:g}" for edge in self.volume.spacing_mm)
        seen = ", ".join(f"{view_name(each.angle_deg)}: {each.agreement.verdict}" for each in self.residuals)
        what = f"{made.get('product', 'volume')} of {made.get('model', 'an unnamed model')}"
        grid = f"{size} voxels of {spacing} mm"
        return f"<{type(self).__name__}: {what}, {grid}; X-rays {seen or 'none'}; {len(self.warnings)} warnings>"
