"""Names of the measures, and their words on the command line, in the report and in 3D Slicer. No torch."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

DEFINITION = 3
"""Of the measures: raised with every change of what a number is, so that no number is held against errors of another one."""
SHOWN_LEVEL, MOST_LEVEL = "80", "90"
NOT_MEASURABLE = "not measurable"
CALIBRATED = (
    "The model's errors are known from patients that it was not trained on: each number is corrected by their median, and each "
    "interval held on them."
)
TOO_FEW = (
    "Numbers are as measured: the patients that the model was not trained on are too few to correct them by, or to say "
    "how often intervals hold."
)
BESIDE = (
    "An interval that takes errors to be normal lies around the number plus the mean error, so that the number itself can "
    "lie outside."
)
UNLIKE = "A patient unlike them, or X-rays unlike projections, may lie outside more often."
NO_SUM = (
    "Left and right lung do not add up to both: each of the three is corrected by the median of its own errors, and medians do "
    "not add up."
)
DOUBT = "These numbers are not to be relied on, for what was handed in is unlike what the model was checked on:"
NO_TABLE = "The model brings no table of its errors: how far these numbers may be off is not known."
OLD_TABLE = (
    "The model's table of its errors is of other definitions of these numbers: how far they may be off is not known "
    "(clsdm-bench calibrate makes the table anew)."
)


@dataclass(frozen=True)
class Quantity:
    """Name and unit of a number.

    Attributes:
        label: for a reader.
        unit: "ml", "mm", "cm²", "HU", "°" or "" for a ratio.
        digits: after the point.
        least: that is possible.
    """

    label: str
    unit: str
    digits: int = 0
    least: float = 0.0

    def text(self, value: float) -> str:
        """The value with its unit."""
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


QUANTITIES: dict[str, Quantity] = {
    "lung_ml": Quantity("Lung volume, both", "ml"),
    "lung_left_ml": Quantity("Lung volume, left", "ml"),
    "lung_right_ml": Quantity("Lung volume, right", "ml"),
    "lung_left_height_mm": Quantity("Lung height, left (apex to diaphragm)", "mm"),
    "lung_right_height_mm": Quantity("Lung height, right (apex to diaphragm)", "mm"),
    "lung_width_mm": Quantity("Greatest width across both lungs", "mm"),
    "lung_mean_hu": Quantity("Mean HU of the lungs", "HU", least=-1000.0),
    "heart_width_mm": Quantity("Heart width", "mm"),
    "cardiothoracic_ratio": Quantity("Cardiothoracic ratio", "", 2),
    "diaphragm_left_mm": Quantity("Diaphragm, left (z, LPS)", "mm", least=-math.inf),
    "diaphragm_right_mm": Quantity("Diaphragm, right (z, LPS)", "mm", least=-math.inf),
    "windpipe_left_of_spine_mm": Quantity("Windpipe, to the left of the spine's middle", "mm", least=-math.inf),
    "windpipe_before_spine_mm": Quantity("Windpipe, in front of the spine's middle", "mm", least=-math.inf),
    "kyphosis_deg": Quantity("Kyphosis of the spine that is seen (estimate)", "°", least=-math.inf),
    "lateral_curve_mm": Quantity("Lateral curve of the spine, greatest offset", "mm"),
    "outline_cm2": Quantity("Area of the body's outline, mean", "cm²"),
    "water_diameter_mm": Quantity("Water-equivalent diameter, mean (AAPM 220)", "mm"),
}
"""By key. Means and curves are taken over the lungs' height; where there are no whole lungs, over all slices with a body."""


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        label: what was measured.
        value: with its unit, or "not measurable".
        span: of the interval at 80 %, or why there is no interval, or no number.
        truth: of the CT, "" where there is none or it cannot be had there either.
        remark: what the interval rests on.
    """

    label: str
    value: str
    span: str
    truth: str = ""
    remark: str = ""

    @property
    def interval(self) -> str:
        """The span with its remark."""
        return f"{self.span} ({self.remark})" if self.remark else self.span


def rows(measures: Mapping[str, Any], truth: Mapping[str, float] | None = None) -> list[Row]:
    """The table for a reader, one row for each quantity.

    Args:
        measures: of ``clsdm.quality.numbers.numbers``.
        truth: values measured in the CT, over the same heights.
    """
    made = []
    for key, quantity in QUANTITIES.items():
        true = "" if truth is None or key not in truth else quantity.text(truth[key])
        if key not in measures["values"]:
            made.append(Row(quantity.label, NOT_MEASURABLE, measures["not_measurable"].get(key, ""), true))
            continue
        each = measures["values"][key]
        best = each.get("intervals", {}).get("corrected", each["value"])
        span, remark = _interval(key, each, measures)
        made.append(Row(quantity.label, quantity.text(best), span, true, remark))
    for tissue, each in measures.get("voxels", {}).items():
        held = f"held {each['held']:.0%} of them on {each['patients']} patients" if each["held"] else "from one patient"
        made.append(Row(f"A voxel of {tissue}, middle one", f"± {each['half_hu']:.0f} HU", f"80 % of voxels; {held}"))
    return made


def _interval(key: str, each: Mapping[str, Any], measures: Mapping[str, Any]) -> tuple[str, str]:
    """The span of an interval, and the remark on it."""
    known = each.get("intervals")
    if known is None:
        return "no interval: no patients to tell from" if measures["calibrated"] else "", ""
    text, patients = QUANTITIES[key].text, known["patients"]
    whose = f"{patients} patient{'s' if patients > 1 else ''}"
    if SHOWN_LEVEL in known["held"]:
        low, high = known["held"][SHOWN_LEVEL]
        span, most = f"{text(low)} to {text(high)}", f"no {MOST_LEVEL} % interval from {patients}"
        if MOST_LEVEL in known["held"]:
            wider = " to ".join(map(text, known["held"][MOST_LEVEL]))
            if wider == span:  # errors that are alike, or both ends at what is least possible
                return span, f"{SHOWN_LEVEL} % and {MOST_LEVEL} %, from {whose}: the two differ by less than is shown"
            most = f"{MOST_LEVEL} %: {wider}"
        return span, f"{SHOWN_LEVEL} %, from {whose}; {most}"
    if SHOWN_LEVEL in known["normal"]:
        low, high = known["normal"][SHOWN_LEVEL]
        return (
            f"{text(low)} to {text(high)}",
            f"{SHOWN_LEVEL} % only if errors are normal; no {SHOWN_LEVEL} % interval from {whose}",
        )
    return f"no {SHOWN_LEVEL} % interval from {whose}", ""


def before(measures: Mapping[str, Any]) -> list[str]:
    """The lines before any number: each says in which way X-rays or volume are unlike the patients of the calibration."""
    return [DOUBT, *measures["doubts"]] if measures.get("doubts") else []


def footnote(measures: Mapping[str, Any]) -> str:
    """Remark on the table as a whole."""
    if measures.get("product") is None:
        return ""
    if measures["calibrated"]:
        rests = _rests_on([each["intervals"] for each in measures["values"].values() if "intervals" in each])
        return " ".join(text for text in (rests, _on_sum(measures["values"])) if text)
    return OLD_TABLE if measures.get("outdated") else NO_TABLE


def _on_sum(values: Mapping[str, Any]) -> str:
    """Remark on lung volumes that do not add up as they are shown, beyond what rounding does; else ""."""
    shown = [values[key] for key in ("lung_left_ml", "lung_right_ml", "lung_ml") if key in values]
    best = [round(each.get("intervals", {}).get("corrected", each["value"])) for each in shown]
    return NO_SUM if len(best) == 3 and abs(best[0] + best[1] - best[2]) > 1 else ""


def _rests_on(known: Sequence[Mapping[str, Any]]) -> str:
    """What numbers and the intervals that are shown rest on; nothing where there are none."""
    if not known:
        return ""
    unheld = [each for each in known if SHOWN_LEVEL not in each["held"]]
    beside = [BESIDE] if any(SHOWN_LEVEL in each["normal"] for each in unheld) else []
    return " ".join([TOO_FEW if len(unheld) == len(known) else CALIBRATED, *beside, UNLIKE])


def remarked_once(made: Sequence[Row]) -> tuple[list[str], list[Row]]:
    """The line that stands above the table where all intervals have one remark, none else, and the rows without it."""
    remarks = [row.remark for row in made if row.remark]
    if len(remarks) < 2 or len(set(remarks)) > 1:
        return [], list(made)
    return [f"Intervals: {remarks[0]}."], [replace(row, remark="") for row in made]


def gaps(measures: Mapping[str, Any], reasons: Mapping[str, str]) -> list[str]:
    """A line for each reason why the CT has no number beside one of the volume's.

    Args:
        measures: as in :func:`rows`.
        reasons: why quantities cannot be had in the CT, by key.
    """
    why: dict[str, list[str]] = {}
    for key in measures["values"]:
        if key in reasons and key in QUANTITIES:
            why.setdefault(reasons[key], []).append(QUANTITIES[key].label)
    return [f"{NOT_MEASURABLE} in the CT, {reason}: {', '.join(labels)}" for reason, labels in why.items()]


def lines(made: Sequence[Row]) -> list[str]:
    """The table as text; a remark on all intervals stands above it, what cannot be had for one reason in one line."""
    remark, alone = remarked_once([row for row in made if row.value != NOT_MEASURABLE or row.truth])
    wide = max((len(row.label) for row in alone), default=0)
    value = max((len(row.value) for row in alone), default=0)
    table = [
        f"{row.label:<{wide}}  {row.value:>{value}}  {row.truth and f'CT {row.truth}  '}{row.interval}".rstrip()
        for row in alone
    ]
    return [*remark, *table, *missing([row for row in made if row.value == NOT_MEASURABLE and not row.truth])]


def missing(made: Sequence[Row]) -> list[str]:
    """A line for each reason why some cannot be had."""
    why: dict[str, list[str]] = {}
    for row in made:
        if row.value == NOT_MEASURABLE:
            why.setdefault(row.interval, []).append(row.label)
    return [f"{NOT_MEASURABLE}, {reason}: {', '.join(labels)}" for reason, labels in why.items()]
