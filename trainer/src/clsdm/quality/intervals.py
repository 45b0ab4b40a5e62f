"""How far a number may be from the truth: intervals that held on patients the model was not trained on.

Conformal prediction on the number itself (Cheung et al., arXiv 2404.15274; voxels' bounds do not carry over to what is derived
from them). Of n calibration patients the ceil((n + 1) level)-th smallest error is the half width; with too few of them there
is none, and an interval that takes errors to be normal (Student's t for n) says how wide it would have to be. What is wide is
reckoned where the table is made (``clsdm_bench``), here it is looked up. No torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain
from clsdm.quality.quantities import DEFINITION

SCHEMA = 1
LEVELS = (50, 80, 90)
"""Per cent; as text they are the keys of the tables below."""
Bounds = tuple[float, float]
Scale = Literal["one", "value", "spread"]


@dataclass(frozen=True)
class Errors:
    """The errors of one quantity, truth minus number, over their scale.

    Attributes:
        patients: that they were measured on.
        scale: what an error is divided by: nothing, the number, or its standard deviation over an ensemble's samples.
        shift: what a number is usually off, the median; 0 where there are too few patients to tell.
        half: half width around the shifted number by level; left out where there are too few patients.
        normal: lowest and highest error by level if errors are normal.
        errors: of each patient, sorted.
    """

    patients: int
    scale: Scale
    half: dict[str, float]
    normal: dict[str, list[float]]
    errors: tuple[float, ...] = ()
    shift: float = 0.0


@dataclass(frozen=True)
class Intervals:
    """Around one number.

    Attributes:
        patients: that they rest on.
        corrected: the number less what it usually is off.
        held: lowest and highest by level, as held on these patients; left out where they are too few.
        normal: likewise if errors are normal.
    """

    patients: int
    corrected: float
    held: dict[str, Bounds]
    normal: dict[str, Bounds]


@dataclass(frozen=True)
class Calibration:
    """A model's errors on patients, as its bundle keeps them.

    Attributes:
        schema: version of this format.
        model_sha256: of the weights that it is of.
        command: that made it.
        conditions: of the X-rays; a patient's error is the largest of them.
        numbers: by product, region and quantity, an :class:`Errors`.
        voxels: see ``clsdm.quality.spread``.
        usual: see ``clsdm.quality.usual``.
        definition: of the numbers, ``quantities.DEFINITION``; errors of other ones say nothing about today's.
        patients: ``model.bundle.patient_mark`` of each patient that it rests on, so that no evaluation uses them.
    """

    schema: int
    model_sha256: str
    command: str
    conditions: tuple[str, ...]
    numbers: dict[str, Any]
    voxels: dict[str, Any] = field(default_factory=dict)
    usual: dict[str, Any] = field(default_factory=dict)
    definition: int = 1
    patients: tuple[str, ...] = ()

    @property
    def outdated(self) -> bool:
        """Whether its errors are those of other definitions of the numbers."""
        return self.definition != DEFINITION

    def intervals(
        self, product: str, region: str, quantity: str, value: float, spread: float | None
    ) -> Intervals | None:
        """Around a number, or None where the table holds nothing for it.

        Args:
            product: "mean", "sample" or "ensemble".
            region: ``Measures.region``.
            quantity: key of ``measure.QUANTITIES``.
            value: the number.
            spread: its standard deviation over the samples of an ensemble, where there are any.
        """
        errors = self.numbers.get(product, {}).get(region, {}).get(quantity)
        if errors is None or self.outdated:
            return None
        scale = {"one": 1.0, "value": abs(value), "spread": spread}[errors.scale]
        if scale is None:
            return None
        best = value + errors.shift * scale
        held = {level: (best - half * scale, best + half * scale) for level, half in errors.half.items()}
        normal = {level: (value + low * scale, value + high * scale) for level, (low, high) in errors.normal.items()}
        return Intervals(errors.patients, best, held, normal)


def calibration_from(table: Any, model_sha256: str, where: str) -> Calibration:  # noqa: ANN401 - untrusted JSON
    """The calibration from the content of a bundle's file.

    Raises:
        InputError: of another model or version, or a field does not belong or fit.
    """
    found = from_plain(Calibration, table, where)
    if found.schema != SCHEMA:
        raise InputError(f"{where}: schema version {found.schema} is unknown; this program reads {SCHEMA}")
    if found.model_sha256 != model_sha256:
        raise InputError(f"{where}: is of weights {found.model_sha256:.16}, the bundle's are {model_sha256:.16}")
    numbers: dict[str, Any] = {}
    for product, regions in found.numbers.items():
        for region, quantities in _table(regions, f"{where}: numbers.{product}").items():
            place = f"{where}: numbers.{product}.{region}"
            numbers.setdefault(product, {})[region] = {
                key: _checked(from_plain(Errors, each, f"{place}.{key}"), f"{place}.{key}")
                for key, each in _table(quantities, place).items()
            }
    return Calibration(**{**vars(found), "numbers": numbers})


def _table(value: Any, where: str) -> Mapping[str, Any]:  # noqa: ANN401
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {value!r:.80}")
    return value


def _checked(errors: Errors, where: str) -> Errors:
    """The table, if its levels and numbers are such."""
    levels = {str(level) for level in LEVELS}
    halves = all(isinstance(half, float | int) and half >= 0.0 for half in errors.half.values())
    pairs = all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, float | int) for each in pair)
        for pair in errors.normal.values()
    )
    if not (set(errors.half) | set(errors.normal) <= levels and halves and pairs):
        raise InputError(f"{where}: expected half widths and pairs for levels {', '.join(sorted(levels))}")
    return errors
