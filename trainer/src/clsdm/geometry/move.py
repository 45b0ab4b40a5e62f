"""How far a view was really taken from where it was said to be; no tensors, no torch."""

from dataclasses import astuple, dataclass, replace

from clsdm.geometry.view import View


@dataclass(frozen=True)
class Move:
    """How far a view is from what was stated.

    Attributes:
        angle_deg: more around the patient's long axis.
        tilt_deg: more towards superior.
        down_mm: of the image on the detector, its offset's first part.
        scale: of the magnification; the patient stands nearer to the source by it, and the detector stays.
    """

    angle_deg: float = 0.0
    tilt_deg: float = 0.0
    down_mm: float = 0.0
    scale: float = 1.0

    def __str__(self) -> str:
        """In words."""
        parts = []
        if self.angle_deg:
            parts.append(f"the angle {self.angle_deg:+.1f} degrees off")
        if self.tilt_deg:
            parts.append(f"the tilt {self.tilt_deg:+.1f} degrees off")
        if self.down_mm:
            where = "lower" if self.down_mm < 0 else "higher"
            parts.append(f"the patient {abs(self.down_mm):.0f} mm {where} on the X-ray")
        if self.scale != 1.0:
            parts.append(f"the magnification {self.scale - 1.0:+.1%} off")
        return ", ".join(parts) or "nothing off"


USUAL = Move(4.0, 2.0, 20.0, 0.05)
"""Size of a usual mistake, the prior's deviation (of ``scale``: from 1)."""
SPIKE, WEIGHT = 0.15, 0.02
"""Cost of any mistake in a value, and further cost of one of usual size, against logarithms of misfits."""


def moved(view: View, move: Move) -> View:
    """The view after a move."""
    return replace(
        view,
        angle_deg=view.angle_deg + move.angle_deg,
        tilt_deg=view.tilt_deg + move.tilt_deg,
        offset_mm=(view.offset_mm[0] + move.down_mm, view.offset_mm[1]),
        source_axis_mm=view.source_axis_mm / move.scale,
    )


def unlikely(move: Move) -> float:
    """The prior: 0 for none; every value that moves costs something at once, since noise would move all of them a little."""
    sizes = [
        (value - rest) / usual
        for value, rest, usual in zip(astuple(move), astuple(Move()), astuple(USUAL), strict=True)
    ]
    return sum(SPIKE + WEIGHT * size**2 for size in sizes if size)
