"""What one case costs with a row: seconds and peak memory.

Both depend on the networks and not on what they have learnt, so they are measured with the weights that these start with:
of all rows alike and at one time, also of those that were trained elsewhere. The first case, in which libraries
make their plans, does not count.
"""

from __future__ import annotations

import statistics
import time
from itertools import cycle, islice
from typing import Any

from clsdm.reconstruct import choose_device
from clsdm_trainer.benchmark.rows import Evaluation
from clsdm_trainer.benchmark.training import open_trained
from clsdm_trainer.memory import peak_memory
from clsdm_trainer.recipe import environment

CASES = 3


def measure(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """The cost of a case: {"seconds": median, "peak_mib": highest, None where the system does not tell, "environment"}."""
    row = evaluation.table.rows[name]
    run = open_trained(evaluation.table, row.run, evaluation.budget, evaluation.out) if row.run else None
    work, device = (
        evaluation.work(name, run, evaluation.table.seeds[0], trained=False),
        choose_device(evaluation.device),
    )
    first, *patients = islice(cycle(evaluation.patients(row)), 1 + CASES)
    work(first)
    seconds, peaks = [], []
    for patient in patients:
        started = time.perf_counter()
        work(patient)
        seconds.append(time.perf_counter() - started)
    for patient in patients:
        with peak_memory(device) as peak:
            work(patient)
        peaks.append(peak.mib)
    return {
        "seconds": statistics.median(seconds),
        "peak_mib": max((mib for mib in peaks if mib is not None), default=None),
        "environment": environment(),
    }
