"""``clsdm-train benchmark``: train what is missing, judge every row, write the page. Call it again and it goes on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.quality.picture import write_png
from clsdm.reconstruct import choose_device
from clsdm_bench import latents
from clsdm_bench.costs import Costs
from clsdm_bench.pictures import picture_of
from clsdm_bench.readme import write_readme
from clsdm_bench.records import RECORDS, RowResult, copy_record, record_path, write_row
from clsdm_bench.report import LATENTS, TRUTH, results_page
from clsdm_bench.resolve import Budget, budget_of, budget_of_minutes, recipe_of, samples_of
from clsdm_bench.rows import Evaluation
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.reconstructors import load_latent
from clsdm_bench.systems.stages import ALL_STAGES
from clsdm_bench.table import RowSpec, TableSpec
from clsdm_bench.training import Trained, open_trained, train_missing
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.data.prepare import PrepareConfig, prepare
from clsdm_trainer.data.readers import READERS
from clsdm_trainer.data.source import SourceConfig
from clsdm_trainer.data.store import MANIFEST, Store, write_json, write_text
from clsdm_trainer.loop import BEST
from clsdm_trainer.stages import AlignmentStage

Say = Callable[[str], None]
RESULTS = "RESULTS.md"
ALIGNED = ("autoencoder", "alignment")


@dataclass(frozen=True)
class Request:
    """What the command line asked for.

    Attributes:
        name: of the table, for the commands that the page prints.
        table: the benchmark.
        store: folder of the prepared patients.
        out: folder of everything that is made.
        only: rows; all of them if empty.
        samples: training samples of each method; the table's if None.
        minutes_each: of training for each method, in place of samples; with ``speeds``.
        speeds: folder of a benchmark of equal samples on the same machine, which measured how fast each method trains.
        minutes: for training and judging, or None for no limit.
        device: "auto", "cpu" or "cuda".
        as_json: training records as JSON lines.
        publish: folder to copy the page and its records to, and to take from what is there already, or None.
        readme: file whose comparison is to be replaced, or None.
        costs: measure anew what a case and the training cost, of all rows.
    """

    name: str
    table: TableSpec
    store: Path
    out: Path
    only: tuple[str, ...] = ()
    samples: int | None = None
    minutes_each: float | None = None
    speeds: Path | None = None
    minutes: float | None = None
    device: str = "auto"
    as_json: bool = False
    publish: Path | None = None
    readme: Path | None = None
    costs: bool = False

    @property
    def rows(self) -> list[str]:
        """The rows that are wanted, in the table's order.

        Raises:
            InputError: one that the table does not have.
        """
        unknown = [name for name in self.only if name not in self.table.rows]
        if unknown:
            raise InputError(f"--only: no row {unknown[0]!r}; expected some of {', '.join(self.table.rows)}")
        return [name for name in self.table.rows if not self.only or name in self.only]

    @property
    def budget(self) -> Budget:
        """What each method gets.

        Raises:
            InputError: minutes without speeds, or beside samples.
        """
        if self.minutes_each is None and self.speeds is None:
            return budget_of(self.table, self.samples)
        if self.minutes_each is None or self.speeds is None or self.samples is not None:
            raise InputError("--minutes-each: expected together with --speeds and without --budget")
        return budget_of_minutes(self.table, self.minutes_each, self.speeds / RECORDS)

    @property
    def command(self) -> str:
        """What makes the same page anywhere."""
        budget = f" --budget {self.samples}" if self.samples else ""
        budget += f" --minutes-each {self.minutes_each:g} --speeds OUT_OF_SAMPLES" if self.minutes_each else ""
        return f"clsdm-train benchmark --preset {self.name} --store STORE --out OUT{budget}"


def run_benchmark(request: Request, say: Say) -> bool:
    """Go on with a benchmark.

    Returns:
        Whether every row that was asked for is there.

    Raises:
        InputError: something cannot be used; a test patient in a training manifest, above all.
    """
    started, table = time.monotonic(), request.table
    store, budget = Store.open(request.store), request.budget

    def left() -> float | None:
        return None if request.minutes is None else request.minutes - (time.monotonic() - started) / 60.0

    evaluation = Evaluation(table, store, request.out, request.device, budget)
    take_published(request, evaluation)
    complete = True
    for name in request.rows:
        if stands(name, request, evaluation):
            continue
        trained = train_missing(
            table,
            table.runs_for([name]),
            store,
            request.out,
            budget=budget,
            device=request.device,
            left=left,
            as_json=request.as_json,
        )
        minutes = left()
        if not trained or (minutes is not None and minutes <= 0.0):  # the time is up, or a signal came
            complete = False
            break
        say(f"judge {name}")
        run = table.rows[name].run
        evaluation.judged(name, open_trained(table, run, budget, request.out) if run else None)
    complete = measure_costs(request, evaluation, left, say) and complete
    write_report(request, evaluation)
    return complete


def take_published(request: Request, evaluation: Evaluation) -> None:
    """Take over what was published of rows and runs that are not here."""
    if request.publish is None:
        return
    published = request.publish / RECORDS
    for name in request.table.rows:
        if evaluation.kept(name) is None and evaluation.kept(name, published) is not None:
            copy_record(published, evaluation.records, name)
    for name in (f"{LATENTS}{run}" for run in request.table.runs):
        if not record_path(evaluation.records, name, ".json").exists():
            copy_record(published, evaluation.records, name)


def measure_costs(request: Request, evaluation: Evaluation, left: Callable[[], float | None], say: Say) -> bool:
    """Measure what the rows that are there cost, where nobody has, or of all of them.

    Returns:
        Whether the time was enough.
    """
    costs = Costs(evaluation)
    for name in request.table.rows:
        result = evaluation.kept(name)
        if result is None or (result.measured is not None and not request.costs):
            continue
        minutes = left()
        if minutes is not None and minutes <= 0.0:
            return False
        say(f"measure the costs of {name}")
        write_row(evaluation.records, replace(result, measured=costs.measure(name)))
    return True


def stands(name: str, request: Request, evaluation: Evaluation) -> bool:
    """Whether a row needs nothing: its record holds, and it is neither asked for by name nor of a run that is here."""
    run = request.table.rows[name].run
    here = run is not None and open_trained(request.table, run, evaluation.budget, request.out).folder.exists()
    return not request.only and not here and evaluation.kept(name) is not None


def plan(request: Request) -> str:
    """What would be trained for the rows, as text: stages, steps and samples of each run."""
    budget = request.budget
    lines = [str(budget)]
    for name, wanted in request.table.runs_for(request.rows).items():
        run = open_trained(request.table, name, budget, request.out)
        stages = (
            f"{stage} {run.config.section(ALL_STAGES[stage]).steps} steps, {samples_of(run.config, stage)} samples"
            + (f" (of {request.table.run(name).share[stage]})" if stage in run.shared else "")
            for stage in wanted
        )
        lines.append(f"{name}: {'; '.join(stages)}")
    return "\n".join(lines) + "\n"


def write_report(request: Request, evaluation: Evaluation) -> None:
    """Everything that can be said with the rows that are there, also those of earlier calls."""
    table, out = request.table, request.out
    kept = {name: evaluation.kept(name) for name in table.rows}
    results = {name: result for name, result in kept.items() if result is not None}
    if request.readme is not None:
        write_readme(table, results, request.readme)
    if not results:
        return
    write_truth(table, evaluation)
    page = results_page(
        table,
        results,
        command=request.command,
        budget=evaluation.budget,
        alignments=measure_alignments(table, results, evaluation),
        patients=len(evaluation.store.cases(table.split)),
        pictured=[path.stem for path in evaluation.records.glob("*.png")],
    )
    write_text(out / RESULTS, page)
    if request.publish is not None:
        publish(out, request.publish, [*results, TRUTH, *(f"{LATENTS}{run}" for run in table.runs)])


def write_truth(table: TableSpec, evaluation: Evaluation) -> None:
    """The picture of the CTs, to compare those of the rows with."""
    path = record_path(evaluation.records, TRUTH, ".png")
    if not path.exists():
        patients = evaluation.patients(RowSpec(label="", group="sanity"))
        picture = picture_of("CT", np.stack([patient.truth.hu for patient in patients]), patients, table.pictures)
        write_atomically(path, lambda part: write_png(picture, part))


def publish(out: Path, folder: Path, names: Sequence[str]) -> None:
    """Copy the page and the records that it is made from."""
    for name in names:
        copy_record(out / RECORDS, folder / RECORDS, name)
    write_text(folder / RESULTS, (out / RESULTS).read_text(encoding="utf-8"))


def measure_alignments(
    table: TableSpec, results: Mapping[str, RowResult], evaluation: Evaluation
) -> dict[str, dict[str, dict[str, float]]]:
    """Agreement of the latents of every run with an alignment stage; kept beside its figure, with what it is of."""
    found = {}
    wanted = dict.fromkeys(run for name in results if (run := table.rows[name].run) is not None)
    for name in (name for name in wanted if "alignment" in table.stages(name)):
        trained = open_trained(table, name, evaluation.budget, evaluation.out)
        spaces = _kept_alignment(trained, evaluation)
        if spaces is None and trained.finished("alignment"):
            spaces = _measured(trained, evaluation)
        if spaces:
            found[name] = spaces
    return found


def _kept_alignment(run: Trained, evaluation: Evaluation) -> dict[str, dict[str, float]] | None:
    """What was measured, if of the same recipe, and of the same weights where they are here."""
    path = record_path(evaluation.records, f"{LATENTS}{run.name}", ".json")
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    same = kept["recipe"] == recipe_of(evaluation.table, run.name, evaluation.budget)
    if not same or (run.finished("alignment") and kept["weights"] != run.fingerprint(ALIGNED)):
        return None
    return dict(kept["spaces"])


def _measured(run: Trained, evaluation: Evaluation) -> dict[str, dict[str, float]]:
    patients = evaluation.patients(RowSpec(label="", group="sanity"))
    if len(patients) < 2:
        return {}
    device = choose_device(evaluation.device)
    alignment = latents.measure(alignment_stage(run, device), patients, device)
    spaces = {"mean": alignment.mean.as_table(), "contrast": alignment.contrast.as_table()}
    picture = latents.drawn(alignment, f"{run.name}: X-ray rings, CT squares")
    path = record_path(evaluation.records, f"{LATENTS}{run.name}", ".json")
    write_atomically(path.with_suffix(".png"), lambda name: write_png(picture, name))
    recipe = recipe_of(evaluation.table, run.name, evaluation.budget)
    write_json(path, {"recipe": recipe, "weights": run.fingerprint(ALIGNED), "spaces": spaces})
    return spaces


def alignment_stage(run: Trained, device: torch.device) -> AlignmentStage:
    """The trained alignment of a run, with the projections of its contrast."""
    model = load_latent(run.config, run.folder, ALIGNED, device)
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
    grid, data = config.model.grid, config.data
    report = prepare(
        PrepareConfig(
            sources=(source,),
            out=store,
            size=grid.size,
            spacing_mm=grid.spacing_mm,
            margin=data.margin,
            placement=data.placement,
            background=data.background,
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
