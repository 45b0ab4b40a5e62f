"""From a store to three trained stages: build the model, hand each stage what the earlier ones learned, run the loop.

Layout of a run: ``config.yaml``, ``environment.json``, ``patients.json`` (the training manifest), and a folder per
stage with ``checkpoint.safetensors``, ``best.safetensors`` (averaged weights, selected on the validation patients) and
``log.jsonl``.
"""

import json
import platform
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import metadata
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from clsdm.errors import InputError
from clsdm.failures import kind_of
from clsdm.model.bundle import Bundle, patient_mark
from clsdm.model.clsdm import CLSDM
from clsdm_trainer.batches import TrainingData, fixed_batches
from clsdm_trainer.checkpoint import load_checkpoint, load_part, load_state, save_state
from clsdm_trainer.checks import AnyStage, check_precision, check_store
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import write_json
from clsdm_trainer.initial import Origin, check_initial, load_initial, origin_of, write_initial
from clsdm_trainer.loop import BEST, CHECKPOINT, Runner
from clsdm_trainer.precision import has_fast_bfloat16, repeat_exactly
from clsdm_trainer.recipe import RunConfig, save_config
from clsdm_trainer.stages import STAGES

CONFIG, ENVIRONMENT = "config.yaml", "environment.json"
PATIENTS = "patients.json"

Report = Callable[[dict[str, Any]], None]


def open_run(folder: Path, config: RunConfig, store: Store | None = None, initial: Bundle | None = None) -> None:
    """Create the run's folder, or check that it holds a run of the same recipe.

    A new folder gets a training manifest: the marks of the store's patients that training can see, and of those that
    the ``initial`` bundle was trained on.

    Raises:
        InputError: the folder holds a run with another configuration, other patients or another beginning, or the
            bundle does not fit.
    """
    path = folder / CONFIG
    if path.exists():
        if type(config).load(str(path)) != config:
            raise InputError(f"{path}: this folder holds a run with another configuration; choose another --run folder")
        if initial is not None and origin_of(folder) != Origin.of(initial, config):
            raise InputError(f"{folder}: this run did not start from {initial.path}; choose another --run folder")
        if store is not None:
            check_patients(folder, store)
        return
    if initial is not None and store is not None:
        check_initial(initial, config, store)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ENVIRONMENT).write_text(json.dumps(environment(), indent=1), encoding="utf-8")
    if store is not None:
        write_json(folder / PATIENTS, manifest_of(store, initial))
    if initial is not None:
        write_initial(folder, initial, config)
    save_config(config, path)


def manifest_of(store: Store, initial: Bundle | None) -> dict[str, list[str]]:
    """Marks of the patients that training and selection can see, or saw for the bundle that the run starts from.

    Returns:
        ``trained``, and ``selected`` for those who are never trained on.
    """
    trained, selected = (
        {patient_mark(case.patient) for case in store.cases() if case.split in splits}
        for splits in (("train", "auxiliary"), ("val",))
    )
    if initial is not None:
        earlier, chosen = set(initial.manifest.trained_patients), set(initial.manifest.selected_patients)
        trained, selected = trained | (earlier - chosen), selected | chosen
    return {"trained": sorted(trained), "selected": sorted(selected - trained)}


def check_patients(folder: Path, store: Store) -> None:
    """Refuse a store with other patients than those a run was begun with.

    Raises:
        InputError: they differ, or the run has no training manifest.
    """
    expected, found = set(seen_patients(folder)), set(chain.from_iterable(manifest_of(store, None).values()))
    origin = origin_of(folder)  # whose patients are listed, too, and need not be in the store
    elsewhere = set() if origin is None else set(origin.patients or expected)
    new, missing = found - expected, expected - found - elsewhere
    if not new and not missing:
        return
    raise InputError(
        f"{folder}: this run was begun with other patients than those of {store.folder} ({len(new)} new, "
        f"{len(missing)} missing); take its own store, or choose another --run folder"
    )


def seen_patients(folder: Path) -> list[str]:
    """The training manifest of a run: the marks of all patients trained or selected on.

    Raises:
        InputError: as :func:`selected_patients`.
    """
    return sorted(chain.from_iterable(_manifest(folder).values()))


def selected_patients(folder: Path) -> list[str]:
    """Of the training manifest, those who were selected on and never trained on.

    Raises:
        InputError: not there, so that nobody can tell whether a test patient was trained on.
    """
    return _manifest(folder)["selected"]


def _manifest(folder: Path) -> dict[str, list[str]]:
    try:
        marks = json.loads((folder / PATIENTS).read_text(encoding="utf-8"))
        if isinstance(marks, list):  # of before the two were told apart
            return {"trained": list(marks), "selected": []}
        return {name: list(marks[name]) for name in ("trained", "selected")}
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(f"{folder / PATIENTS}: cannot be read ({error}); expected the marks of patients") from None


def environment() -> dict[str, Any]:
    """Versions, revision and machine of a run."""
    packages = ("torch", "numpy", "SimpleITK", "monai", "lightning-fabric", "safetensors")
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor_threads": torch.get_num_threads(),
        "processor_bfloat16": has_fast_bfloat16(torch.device("cpu")),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git_revision": git_revision(),
        "packages": {name: metadata.version(name) for name in packages},
    }


def git_revision() -> str | None:
    """Revision of the source tree, with a plus where it has changes; None outside a checkout."""
    here = Path(__file__).parent
    try:
        run = [
            subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for words in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return run[0] + ("+" if run[1] else "")


def load_stage(model: CLSDM, folder: Path, stage: AnyStage) -> None:
    """Put the best weights of a trained stage into the model, and what it measured.

    A run that started from a bundle keeps the bundle's weights of stages that it does not train (:func:`load_initial`).

    Raises:
        InputError: that stage has not been trained to its end in this run, or its files are damaged.
    """
    origin = origin_of(folder)
    if origin is not None and not origin.grown and not (folder / stage.name / BEST).exists():
        if (folder / stage.name / CHECKPOINT).exists():
            raise InputError(
                f"{folder / stage.name / BEST}: missing; stage {stage.name!r} was begun in this run, go on with it until it "
                "is validated for the first time"
            )
        return
    load_weights(model, folder, stage)
    if stage.product is None:
        return
    path = folder / stage.product
    if not path.exists():
        raise InputError(f"{path}: missing; run stage {stage.name!r} to its end, which measures it")
    try:
        stage.restore(model, load_state(path))
    except InputError as error:
        raise InputError(f"{error}; move it away and run stage {stage.name!r} again, which measures it anew") from None


def load_weights(model: CLSDM, folder: Path, stage: AnyStage) -> None:
    """Put the best weights of a trained stage into the model.

    Raises:
        InputError: that stage has not been trained in this run, or they are damaged.
    """
    path = folder / stage.name / BEST
    if not path.exists():
        begun = load_checkpoint(path.with_name(CHECKPOINT))
        where = "it has not been begun" if begun is None else f"it stands at step {begun['progress']['step']}"
        raise InputError(f"{path}: missing; stage {stage.name!r} must be finished first, {where}")
    try:
        weights = load_part(path, "weights")
    except InputError as error:
        raise InputError(f"{error}; move {path.parent} away and train stage {stage.name!r} again") from None
    there = dict(model.named_children())
    for network in (name for name in stage.networks if name in there):
        own = {key[len(network) + 1 :]: value for key, value in weights.items() if key.startswith(f"{network}.")}
        try:
            there[network].load_state_dict(own)
        except RuntimeError:
            raise InputError(f"{path}: holds other networks than the recipe of this run describes") from None


def build_runner(
    config: RunConfig, stage: AnyStage, store: Store, folder: Path, fabric: Fabric, report: Report
) -> Runner:
    """A stage ready to run, with what earlier stages learned in place.

    Raises:
        InputError: the store does not fit, or an earlier stage is missing.
    """
    check_store(store, config)
    check_precision(config, stage, fabric.device)
    torch.manual_seed(config.seed)  # initial weights; everything later draws from per-sample generators
    model = CLSDM(config.model)
    fine_tuning = load_initial(model, folder)
    model.to(fabric.device)
    for earlier in stage.needs:
        load_stage(model, folder, STAGES[earlier])
    ready = stage(model, config.section(stage))
    if not fine_tuning:
        ready.start(store)
    data = TrainingData(store, config.model, config.augment, config.seed, fabric.device)
    geometry = max(config.augment.presets, key=config.augment.presets.__getitem__)  # what it is trained for most
    validation = fixed_batches(store, config.model, "val", 2, fabric.device, geometry)
    return Runner(fabric, ready, data, validation, folder / stage.name, report)


def train_stage(
    config: RunConfig,
    stage: AnyStage,
    store: Store,
    folder: Path,
    fabric: Fabric,
    report: Report,
    minutes: float | None = None,
) -> bool:
    """Train one stage, or go on with it, for at most ``minutes``.

    Returns:
        Whether the stage is finished.
    """
    repeat_exactly(fabric.device)
    with memory_in_words(config, stage, fabric.device):
        runner = build_runner(config, stage, store, folder, fabric, report)
        deadline = float("inf") if minutes is None else time.monotonic() + 60.0 * minutes
        finished = runner.run(lambda: time.monotonic() >= deadline)
        if finished and stage.product is not None and fabric.is_global_zero:
            load_weights(runner.stage.model, folder, stage)
            save_state(folder / stage.product, runner.stage.measure(store, runner.validation))
    fabric.barrier()
    return finished


@contextmanager
def memory_in_words(config: RunConfig, stage: AnyStage, device: torch.device) -> Iterator[None]:
    """Where memory runs out, say what can be done about it.

    Raises:
        InputError: in place of torch's and Python's errors.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if kind_of(error) != "memory":
            raise
        section = config.section(stage)
        half = (
            f"{stage.name}.batch {section.batch // 2} and accumulate {section.accumulate * 2} make the same step of less"
            if section.batch >= 4
            else "fewer or narrower channels in the recipe take less"
        )
        raise InputError(
            f"{stage.name}: the memory of the {'GPU' if device.type == 'cuda' else 'computer'} does not suffice for this "
            f"recipe; {half}, and so does precision bf16-mixed (a changed recipe needs a new --run folder)"
        ) from error
