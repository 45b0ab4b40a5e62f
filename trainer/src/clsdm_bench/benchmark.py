"""``clsdm-bench benchmark``: train what is missing, measure every row, write the page. Call it again and it goes on."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clsdm.errors import InputError
from clsdm.progress import terminal
from clsdm.reconstruction import choose_device
from clsdm_bench.costs import Costs
from clsdm_bench.measures import latents
from clsdm_bench.report.page import LATENTS, TRUTH, write_page
from clsdm_bench.report.pictures import write_picture
from clsdm_bench.resolve import Budget, recipe_of, samples_of
from clsdm_bench.rows import Benchmark
from clsdm_bench.systems.ours import latent_model
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_bench.table import TableSpec
from clsdm_bench.training import Trained, open_trained, train_missing
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.data.manifest import MANIFEST
from clsdm_trainer.data.prepare import PrepareConfig, prepare
from clsdm_trainer.data.readers import READERS
from clsdm_trainer.data.source import SourceConfig
from clsdm_trainer.loop import BEST
from clsdm_trainer.stages import AlignmentStage

Say = Callable[[str], None]
RESULTS = "RESULTS.md"
ALIGNED = ("autoencoder", "alignment")


def run_benchmark(
    benchmark: Benchmark,
    only: Sequence[str],
    say: Say,
    minutes: float | None = None,
    *,
    costs: bool = False,
    as_json: bool = False,
) -> bool:
    """Go on with a benchmark.

    Args:
        benchmark: its table, patients, budget and records.
        only: rows that are made even where a record holds; all that have none if empty.
        say: called with what is done next.
        minutes: for training and measuring, or None for no limit.
        costs: measure anew what a case and the training cost, of all rows.
        as_json: training records as JSON lines.

    Returns:
        Whether every row that was asked for is there.

    Raises:
        InputError: something cannot be used; a test patient in a training manifest, above all.
    """
    started, table = time.monotonic(), benchmark.table

    def left() -> float | None:
        return None if minutes is None else minutes - (time.monotonic() - started) / 60.0

    complete = True
    for name in only or (name for name in table.rows if not _needs_nothing(name, benchmark)):
        wanted = table.runs_for([name])
        if not train_missing(
            table, wanted, benchmark.store, benchmark.out, benchmark.budget, benchmark.device, left, as_json=as_json
        ) or _over(left):
            complete = False  # the time is up, or a signal came
            break
        say(f"measure {name}")
        with terminal() as report:
            benchmark.measure(name, report)
    complete = measure_costs(benchmark, left, say, anew=costs) and complete
    measure_latents(benchmark)
    write_truth(benchmark)
    rows = {name: row for name in table.rows if (row := benchmark.kept(name)) is not None}
    if rows:
        write_page(table, replace(benchmark.records, rows=rows), benchmark.out / RESULTS)
    return complete


def _over(left: Callable[[], float | None]) -> bool:
    minutes = left()
    return minutes is not None and minutes <= 0.0


def _needs_nothing(name: str, benchmark: Benchmark) -> bool:
    """Whether a row's record holds, and it is not of a run that is here."""
    run = benchmark.run(name)
    return (run is None or not run.folder.exists()) and benchmark.kept(name) is not None


def measure_costs(benchmark: Benchmark, left: Callable[[], float | None], say: Say, *, anew: bool) -> bool:
    """Measure what the rows that are there cost, where nobody has, or of all of them.

    Returns:
        Whether the time was enough.
    """
    costs = Costs(benchmark)
    for name in benchmark.table.rows:
        result = benchmark.kept(name)
        if result is None or (result.measured is not None and not anew):
            continue
        if _over(left):
            return False
        say(f"measure the costs of {name}")
        benchmark.records = benchmark.records.with_row(replace(result, measured=costs.measure(name)))
    return True


def plan(table: TableSpec, rows: Sequence[str], budget: Budget, out: Path) -> str:
    """The stages, steps and samples of each run that rows need, as text."""
    lines = [str(budget)]
    for name, wanted in table.runs_for(rows).items():
        run = open_trained(table, name, budget, out)
        stages = (
            f"{stage} {run.config.section(ALL_STAGES[stage]).steps} steps, {samples_of(run.config, stage)} samples"
            + (f" (of {table.run(name).share[stage]})" if stage in run.shared else "")
            for stage in wanted
        )
        lines.append(f"{name}: {'; '.join(stages)}")
    return "\n".join(lines) + "\n"


def write_truth(benchmark: Benchmark) -> None:
    """The picture of the CTs, to compare those of the rows with."""
    path = benchmark.records.folder / f"{TRUTH}.png"
    if benchmark.records.rows and not path.exists():
        patients = benchmark.patients()
        write_picture(path, "CT", np.stack([p.truth.hu for p in patients]), patients, benchmark.table.pictures)


def measure_latents(benchmark: Benchmark) -> None:
    """Agreement of the latents of every run with a finished alignment, unless it is there, of the same weights."""
    table, patients = benchmark.table, benchmark.patients()
    runs = dict.fromkeys(table.rows[name].run for name in benchmark.records.rows if name in table.rows)
    for name in (name for name in runs if name is not None and "alignment" in table.stages(name)):
        run = open_trained(table, name, benchmark.budget, benchmark.out)
        if not run.finished("alignment") or len(patients) < 2:
            continue
        made_from = {"recipe": recipe_of(table, name, benchmark.budget), "weights": run.fingerprint(ALIGNED)}
        kept = benchmark.records.latents.get(name, {})
        if {key: kept.get(key) for key in made_from} == made_from:
            continue
        device = choose_device(benchmark.device)
        found = latents.measure(alignment_stage(run, device), patients, device)
        latents.write_figure(found, f"{name}: latents by t-SNE", benchmark.records.folder / f"{LATENTS}{name}.png")
        benchmark.records = benchmark.records.with_latents(name, {**made_from, "spaces": found.spaces()})


def alignment_stage(run: Trained, device: torch.device) -> AlignmentStage:
    """The trained alignment of a run, with the projections of its contrast."""
    model = latent_model(run.config, run.folder, run.stages, device, ALIGNED)
    stage = AlignmentStage(model, run.config.alignment)
    stage.modules["alignment"].load_state_dict(load_state(run.folder / "alignment" / BEST)["weights"])
    stage.modules["alignment"].to(device).eval()
    return stage


def prepare_store(table: TableSpec, root: Path, store: Path, say: Say) -> None:
    """Prepare the store of a public data set in the layout of one of the table's sources, unless it is there.

    Raises:
        InputError: the table has no sources, none of them fits the folder, or the store would be incomplete.
    """
    if (store / MANIFEST).is_file():
        return
    config = BenchmarkConfig.load(table.preset)
    source = fitting_source(table.sources, root)
    say(f"prepare {store} from {source.kind}:{source.root}")
    grid = config.model.grid
    report = prepare(
        PrepareConfig(
            sources=(source,), out=store, size=grid.size, spacing_mm=grid.spacing_mm, **config.data.model_dump()
        )
    )
    say(report.summary())


def fitting_source(templates: Sequence[str], root: Path) -> SourceConfig:
    """The first of the table's sources under which the folder holds scans.

    Raises:
        InputError: there is none.
    """
    for template in templates:
        source = SourceConfig.parse(template.format(root=root))
        if root.is_dir() and READERS[source.kind].find(source.root).scans:
            return source
    kinds = ", ".join(template.partition(":")[0] for template in templates) or "nothing"
    raise InputError(f"--data {root}: expected the public layout of {kinds}, found no scan")
