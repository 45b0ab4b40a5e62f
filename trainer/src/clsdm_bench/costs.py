"""The cost of a row on one machine: seconds and peak memory of a case, minutes of training.

None of these depends on what the networks have learnt, so they are measured with the weights that these start with: of
all rows alike and at one time, also of those that were trained elsewhere. The first case, and the first step of each kind, in
which libraries make their plans, do not count.
"""

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from clsdm.reconstruction import choose_device
from clsdm_bench.measures.memory import peak_memory
from clsdm_bench.measures.speed import forecast, untrained_runner
from clsdm_bench.rows import Benchmark
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_bench.training import Trained, fabric_for, open_trained
from clsdm_trainer.run import environment

CASES, STEPS = 3, 3
"""Measured of each row, and of each kind of step."""


@dataclass
class Costs:
    """Measures rows; a stage of a run once for all rows.

    Attributes:
        benchmark: its table, patients and budget.
    """

    benchmark: Benchmark
    _seconds: dict[tuple[str, str], float] = field(default_factory=dict, init=False)

    def measure(self, name: str) -> dict[str, Any]:
        """Of a row: {"case_seconds", "case_peak_mib", "training_minutes": None where nothing is trained, "environment"}."""
        table = self.benchmark.table
        run = self.benchmark.run(name)
        trained = [self._stage_seconds(run, stage) for stage in table.stages_for(name)] if run else []
        return {
            **self._case(name),
            "training_minutes": sum(trained) / 60.0 if run else None,
            "environment": environment(),
        }

    def _run(self, name: str) -> Trained:
        return open_trained(self.benchmark.table, name, self.benchmark.budget, self.benchmark.out)

    def _case(self, name: str) -> dict[str, float]:
        """Median seconds, and the highest peak of memory in MiB."""
        benchmark = self.benchmark
        work = benchmark.work(name, benchmark.table.seeds[0], trained=False)
        first, *patients = islice(cycle(benchmark.patients(benchmark.table.rows[name].angles_deg)), 1 + CASES)
        work(first)
        seconds, peaks = [], []
        for patient in patients:
            started = time.perf_counter()
            work(patient)
            seconds.append(time.perf_counter() - started)
        for patient in patients:
            with peak_memory(choose_device(benchmark.device)) as peak:
                work(patient)
            peaks.append(peak.mib)
        return {"case_seconds": statistics.median(seconds), "case_peak_mib": max(peaks)}

    def _stage_seconds(self, run: Trained, stage: str) -> float:
        """Seconds of all steps of a stage, which may be another run's."""
        if stage in run.shared:
            return self._stage_seconds(self._run(self.benchmark.table.run(run.name).share[stage]), stage)
        key = run.name, stage
        if key not in self._seconds:
            fabric = fabric_for(run, stage, self.benchmark.device)
            with tempfile.TemporaryDirectory() as folder:
                runner = untrained_runner(run.config, ALL_STAGES[stage], self.benchmark.store, Path(folder), fabric)
                self._seconds[key] = forecast(runner, STEPS)
        return self._seconds[key]
