"""Measures of a volume, and why some cannot be had: lungs, heart, diaphragm, spine, windpipe, outline of the body.

Plain image analysis by thresholds, connected components and distance maps (``lungs``, ``heart``, ``spine``, ``outline``), the
same for a reconstruction and for a CT, on voxels of 3 mm (coarser where the volume's are much coarser). A quantity that cannot
be had is a reason, never a number. Positions are LPS in mm, profiles run along z towards the head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clsdm.quality import lungs as chest
from clsdm.quality.heart import Base, heart_borders, lung_base
from clsdm.quality.lungs import Lungs, NotMeasurable
from clsdm.quality.outline import CUT_OFF, areas_mm2, mean_over, water_diameters_mm
from clsdm.quality.quantities import DEFINITION, QUANTITIES
from clsdm.quality.spine import kyphosis_deg, lateral_curve_mm, spine_line
from clsdm.volume.body import body_mask
from clsdm.volume.ct import CTVolume
from clsdm.volume.cube import scan_box

MEASURE_MM = 3.0
BRIDGED_VOXELS = 4
"""A coarse volume may show the thin wall of a chest as open."""
CHEST, OTHER = "chest", "other"


@dataclass(frozen=True)
class Measures:
    """All that was measured in a volume.

    Attributes:
        values: of each of ``quantities.QUANTITIES`` that could be had.
        reasons: for each of the others, why it could not.
        over_mm: lowest and highest z over which means and curves were taken.
        profiles: along z in steps of 3 mm, by name: ``outline`` has z_mm, area_cm2, water_diameter_mm; ``spine`` has z_mm,
            x_mm, y_mm.
    """

    values: dict[str, float]
    reasons: dict[str, str]
    over_mm: tuple[float, float] | None = None
    profiles: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    @property
    def region(self) -> str:
        """ "chest" where both lungs are whole, else "other": errors are compared within a region."""
        return CHEST if "lung_ml" in self.values else OTHER

    def to_plain(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "definition": DEFINITION,
            "region": self.region,
            "over_mm": self.over_mm and _rounded(self.over_mm),
            "values": {
                key: {"label": QUANTITIES[key].label, "unit": QUANTITIES[key].unit, "value": round(value, 4)}
                for key, value in self.values.items()
            },
            "not_measurable": self.reasons,
            "profiles": {
                name: {key: _rounded(each) for key, each in table.items()} for name, table in self.profiles.items()
            },
        }

    @classmethod
    def from_plain(cls, table: Mapping[str, Any]) -> Measures:
        """The inverse of :meth:`to_plain`."""
        values = {key: float(each["value"]) for key, each in table["values"].items() if key in QUANTITIES}
        over = table["over_mm"] and (float(table["over_mm"][0]), float(table["over_mm"][1]))
        return cls(values, dict(table["not_measurable"]), over, dict(table["profiles"]))


def _rounded(values: Iterable[float]) -> list[float]:
    return [round(value, 2) for value in values]


class _Volume:
    """A volume on the voxels of measuring, with what is found in it once."""

    over_mm: tuple[float, float] | None = None

    def __init__(self, ct: CTVolume) -> None:
        self.step_mm = max(MEASURE_MM, min(ct.spacing_mm) / 2.0)
        box = scan_box(ct, self.step_mm)
        self.hu, self.origin_mm = box.hu, box.origin_mm
        self.body = body_mask(self.hu, BRIDGED_VOXELS)
        if not self.body.any():
            raise NotMeasurable("there is no body in the volume")
        self.windpipe = chest.find_windpipe(self.hu, self.body, self.step_mm)
        self.areas_cm2 = areas_mm2(self.body, self.step_mm) / 100.0
        self.water_mm = water_diameters_mm(self.hu, self.body, self.step_mm)
        self._lungs: Lungs | NotMeasurable = _found(
            lambda: chest.find_lungs(self.hu, self.body, self.step_mm, self.windpipe)
        )
        self._bases: dict[str, Base | NotMeasurable] = {}
        self._spine: np.ndarray | NotMeasurable = _found(lambda: spine_line(self.hu, self.body, self.step_mm))

    def z_mm(self, index: float | np.ndarray) -> Any:  # noqa: ANN401 - a float or an array as given
        return self.origin_mm[2] + self.step_mm * index

    @property
    def lungs(self) -> Lungs:
        return _or_raise(self._lungs)

    @property
    def spine(self) -> np.ndarray:
        """(n, 3) index (z, y, x)."""
        return _or_raise(self._spine)

    def whole(self) -> Lungs:
        return self.lungs.ending("upper end", "lower end")

    def base(self, side: str) -> Base:
        """The lower end of the "left" or "right" lung."""
        lungs = self.lungs.ending("diaphragm")
        if side not in self._bases:
            self._bases[side] = _found(lambda: lung_base(lungs, side))
        return _or_raise(self._bases[side])

    def trunk(self) -> tuple[int, int]:
        """First and last slice over which means are taken, and the spine's curves."""
        if self.over_mm is not None:
            first, last = ((each - self.origin_mm[2]) / self.step_mm for each in self.over_mm)
            return round(first), round(last)
        if isinstance(self._lungs, Lungs) and not self._lungs.cut:
            return _heights(self._lungs.both)
        found = np.flatnonzero(~np.isnan(self.areas_cm2))
        if not len(found):
            raise NotMeasurable(CUT_OFF)
        return int(found[0]), int(found[-1])

    def curved_mm(self) -> np.ndarray:
        """(n, 3) mm of the spine over the trunk, without 15 mm at either end."""
        low, high = self.trunk()
        low, high = low + round(15.0 / self.step_mm), high - round(15.0 / self.step_mm)
        chosen = self.spine[(self.spine[:, 0] >= low) & (self.spine[:, 0] <= high)]
        if len(chosen) < max(2.0, 0.9 * (high - low)):
            raise NotMeasurable("the spine is not seen over the whole height")
        return chosen * self.step_mm

    def windpipe_mm(self) -> tuple[float, float]:
        """How far to the left and in front of the spine the windpipe lies, over 60 mm from the lungs' tops downwards."""
        top = _heights(self.lungs.ending("upper end").both)[1]
        z, y, x = np.nonzero(self.windpipe)
        near = (z <= top) & (z >= top - 60.0 / self.step_mm)
        if len(np.unique(z[near])) * self.step_mm < 15.0:
            raise NotMeasurable("no windpipe is found below the lungs' tops")
        levels = np.unique(z[near])
        line = np.array([[y[z == at].mean(), x[z == at].mean()] for at in levels])
        column = np.stack([np.interp(levels, self.spine[:, 0], self.spine[:, axis]) for axis in (1, 2)], axis=1)
        before, left = ((column - line) * self.step_mm).mean(0)
        return float(-left), float(before)


def measure(ct: CTVolume, over_mm: tuple[float, float] | None = None) -> Measures:
    """Measure a reconstruction or a CT, of any spacing and orientation; what lies outside it is not known.

    Args:
        ct: HU.
        over_mm: lowest and highest z (LPS) over which means and curves are taken, ``Measures.over_mm`` of another volume
            that this one is to be compared with; its own lungs' height if None.
    """
    return measuring(ct)(over_mm)


def measuring(ct: CTVolume) -> Callable[[tuple[float, float] | None], Measures]:
    """:func:`measure` of one volume for whatever heights, in which everything is found once."""
    try:
        volume = _Volume(ct)
    except NotMeasurable as why:
        nothing = Measures({}, dict.fromkeys(QUANTITIES, str(why)))
        return lambda _: nothing
    return lambda over_mm: _measured(volume, over_mm)


def _measured(volume: _Volume, over_mm: tuple[float, float] | None) -> Measures:
    volume.over_mm = over_mm
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for key, find in _FINDERS.items():
        found = _found(lambda find=find: float(find(volume)))  # type: ignore[misc]
        if isinstance(found, NotMeasurable):
            reasons[key] = str(found)
        else:
            values[key] = found
    if "heart_width_mm" in values and "lung_width_mm" in values:
        values["cardiothoracic_ratio"] = values["heart_width_mm"] / values["lung_width_mm"]
    else:
        reasons["cardiothoracic_ratio"] = reasons.get("heart_width_mm", reasons.get("lung_width_mm", ""))
    ordered = {key: values[key] for key in QUANTITIES if key in values}
    trunk = _found(volume.trunk)
    over = None if isinstance(trunk, NotMeasurable) else (volume.z_mm(trunk[0]), volume.z_mm(trunk[1]))
    return Measures(ordered, reasons, over, _profiles(volume))


def _heights(mask: np.ndarray) -> tuple[int, int]:
    """First and last slice of a mask."""
    found = np.flatnonzero(mask.any((1, 2)))
    return int(found[0]), int(found[-1])


def _profiles(volume: _Volume) -> dict[str, dict[str, list[float]]]:
    known = np.flatnonzero(~np.isnan(volume.areas_cm2))
    found = {
        "outline": {
            "z_mm": volume.z_mm(known).tolist(),
            "area_cm2": volume.areas_cm2[known].tolist(),
            "water_diameter_mm": volume.water_mm[known].tolist(),
        }
    }
    if isinstance(volume._spine, np.ndarray):
        places = np.array(volume.origin_mm)[::-1] + volume.spine * volume.step_mm
        found["spine"] = {name: places[:, axis].tolist() for axis, name in enumerate(("z_mm", "y_mm", "x_mm"))}
    return found


def _millilitres(lungs: Lungs, side: str = "both") -> float:
    return float(getattr(lungs, side).sum()) * lungs.spacing_mm**3 / 1000.0


def _height_mm(volume: _Volume, side: str) -> float:
    lungs = volume.whole()
    return (_heights(getattr(lungs, side))[1] + 0.5 - volume.base(side).dome) * volume.step_mm


def _width_mm(volume: _Volume) -> float:
    """The greatest of all slices, from the right lung's outer side to the left one's."""
    wide = np.asarray(volume.lungs.ending("diaphragm").both.any(1))  # (z, x)
    widths = [np.ptp(np.flatnonzero(row)) + 1 for row in wide if row.any()]
    return float(max(widths)) * volume.step_mm


def _heart_mm(volume: _Volume) -> float:
    right, left = heart_borders(volume.base("right"), volume.base("left"))
    return (left - right - 1.0) * volume.step_mm


def _dome_mm(volume: _Volume, side: str) -> float:
    return volume.z_mm(volume.base(side).dome)


_FINDERS: dict[str, Callable[[_Volume], float]] = {
    "lung_ml": lambda volume: _millilitres(volume.whole()),
    "lung_left_ml": lambda volume: _millilitres(volume.whole(), "left"),
    "lung_right_ml": lambda volume: _millilitres(volume.whole(), "right"),
    "lung_left_height_mm": lambda volume: _height_mm(volume, "left"),
    "lung_right_height_mm": lambda volume: _height_mm(volume, "right"),
    "lung_width_mm": _width_mm,
    "lung_mean_hu": lambda volume: volume.hu[volume.whole().both].mean(),
    "heart_width_mm": _heart_mm,
    "diaphragm_left_mm": lambda volume: _dome_mm(volume, "left"),
    "diaphragm_right_mm": lambda volume: _dome_mm(volume, "right"),
    "windpipe_left_of_spine_mm": lambda volume: volume.windpipe_mm()[0],
    "windpipe_before_spine_mm": lambda volume: volume.windpipe_mm()[1],
    "kyphosis_deg": lambda volume: kyphosis_deg(volume.curved_mm()),
    "lateral_curve_mm": lambda volume: lateral_curve_mm(volume.curved_mm()),
    "outline_cm2": lambda volume: mean_over(volume.areas_cm2, *volume.trunk()),
    "water_diameter_mm": lambda volume: mean_over(volume.water_mm, *volume.trunk()),
}


def _found(find: Callable[[], Any]) -> Any:  # noqa: ANN401 - what ``find`` gives, or why it does not
    try:
        return find()
    except NotMeasurable as why:
        return why


def _or_raise(found: Any) -> Any:  # noqa: ANN401
    if isinstance(found, NotMeasurable):
        raise found
    return found
