"""Whether one method is better than another on the same patients."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from clsdm.quality.metrics import Summary, summarise


@dataclass(frozen=True)
class Paired:
    """A method minus a reference, patient by patient.

    Attributes:
        difference: mean over patients with its bootstrap interval.
        p: of Wilcoxon's signed-rank test, two-sided; 1 where there is no difference at all.
    """

    difference: Summary
    p: float


def paired(method: Mapping[str, float], reference: Mapping[str, float]) -> Paired:
    """Compare figures by case id.

    Raises:
        ValueError: the two were not measured on the same cases.
    """
    if set(method) != set(reference):
        raise ValueError(f"paired: cases differ: {sorted(set(method) ^ set(reference))[:3]}")
    differences = np.array([method[case] - reference[case] for case in sorted(method)])
    p = float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0
    return Paired(summarise(differences.tolist()), p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values (Holm 1979), in the order given: the family-wise error stays below what each is compared with."""
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted.tolist()
