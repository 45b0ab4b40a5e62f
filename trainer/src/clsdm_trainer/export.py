"""From a finished run to a bundle with its model card."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from clsdm.errors import InputError
from clsdm.model.bundle import SCHEMA, Bundle, Encoding, Manifest, write_bundle
from clsdm.model.clsdm import CLSDM
from clsdm.volume.hu import WINDOW_HU
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.data.store import Store
from clsdm_trainer.figures import figures_section
from clsdm_trainer.initial import load_initial, origin_of
from clsdm_trainer.loop import BEST, CHECKPOINT
from clsdm_trainer.recipe import RunConfig
from clsdm_trainer.run import ENVIRONMENT, check_patients, load_stage, seen_patients, selected_patients
from clsdm_trainer.stages import STAGES
from clsdm_trainer.strict_yaml import read_yaml

VERSION = "1"
ABOUT_FIELDS = ("licence", "anatomy", "data", "recipe", "remarks")


def trained_model(config: RunConfig, run: Path) -> CLSDM:
    """The model with the best weights of all three stages.

    Raises:
        InputError: a stage is missing.
    """
    torch.manual_seed(config.seed)
    model = CLSDM(config.model)
    load_initial(model, run)
    for stage in STAGES.values():
        load_stage(model, run, stage)
    return model.eval()


def export_bundle(
    config: RunConfig,
    run: Path,
    store: Store,
    out: Path,
    *,
    about: dict[str, str],
    encoding: Encoding = "int8",
    results: dict[str, Any] | None = None,
) -> Bundle:
    """Write the run as a bundle.

    Args:
        config: of the run.
        run: its folder.
        store: what it was trained on.
        out: bundle folder.
        about: ``licence``, ``anatomy``, ``data`` (where the scans come from, with their licences), ``recipe`` (the
            commands) and ``remarks`` (what is special about this model), in words.
        encoding: how weights are stored.
        results: ``figures.read_results`` of this very bundle, for the card; None where there are none yet.

    Raises:
        InputError: a stage is missing, the store has other patients than the run, or the bundle cannot be written.
    """
    check_patients(run, store)
    manifest = Manifest(
        schema=SCHEMA,
        id=config.name,
        version=VERSION,
        licence=about["licence"],
        window_hu=WINDOW_HU,
        model=config.model,
        encoding=encoding,
        trained_presets=tuple(config.augment.presets),
        trained_patients=tuple(seen_patients(run)),
        selected_patients=tuple(selected_patients(run)),
        trained_anatomy=about["anatomy"],
    )
    card = model_card(config, run, store, about, results)
    return write_bundle(out, manifest, trained_model(config, run).state_dict(), card, results or {})


def read_about(path: Path | None, name: str) -> dict[str, str]:
    """The words of the card: from a YAML file, or those shipped for a recipe of that name.

    Raises:
        InputError: nothing is shipped for this recipe, or a field is missing or unknown.
    """
    shipped = resources.files("clsdm_trainer") / "about" / f"{name}.yaml"
    if path is None and not shipped.is_file():
        raise InputError(f"--about: needed; nothing is shipped for the recipe {name!r}")
    try:
        about = read_yaml((path or shipped).read_text(encoding="utf-8"), str(path or shipped))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text ({error})") from None
    if not isinstance(about, dict) or set(about) != set(ABOUT_FIELDS):
        raise InputError(f"{path or shipped}: expected exactly the fields {', '.join(ABOUT_FIELDS)}")
    return {field: str(about[field]).strip() for field in ABOUT_FIELDS}


def _origin(run: Path) -> list[str]:
    """The paragraph of the card about the bundle that a run started from."""
    origin = origin_of(run)
    if origin is None:
        return []
    trained = ", ".join(name for name in STAGES if (run / name / BEST).exists())
    how = "Its coarse estimate was trained further from" if origin.grown else "Fine-tuned from"
    return [
        f"{how} {origin.id}, version {origin.version} (weights {origin.sha256}), which had seen: "
        f"{origin.anatomy}. Trained further: {trained or 'nothing'}.",
        "",
    ]


def model_card(
    config: RunConfig, run: Path, store: Store, about: dict[str, str], results: dict[str, Any] | None
) -> str:
    """The model card as Markdown; every figure in it comes from the run's logs or from ``results``."""
    environment = json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))
    counts = {split: len(store.cases(split)) for split in ("train", "auxiliary", "val", "test")}
    grid, augment = config.model.grid, config.augment
    lines = [
        f"# Model card: {config.name}, version {VERSION}",
        "",
        "**Research only. Not a medical device; not for diagnosis or treatment.** A volume from two X-rays is an",
        "estimate: most of its voxels are not determined by the images. Nothing in it may be read as a finding.",
        "",
        "## What it does",
        f"One to eight X-rays with known geometry -> CT of {grid.size}³ voxels of {grid.spacing_mm:g} mm "
        f"({grid.cube_mm:g} mm cube) in HU.",
        f"It has only seen: {about['anatomy']}. Elsewhere its volumes look plausible and are wrong.",
        "",
        "## Data",
        about["data"],
        "",
        f"Patients are split: {counts['train'] - counts['auxiliary']} train and {counts['auxiliary']} auxiliary scans "
        f"for training, {counts['val']} for selection, {counts['test']} for tests, seen by nothing before.",
        f"X-rays are projections made while training, presets {', '.join(augment.presets)}, angles ±"
        f"{augment.angle_jitter_deg:g}°, distances ±{augment.distance_jitter:.0%}, "
        f"one of several views missing in {augment.drop_probability:.0%} of the samples.",
        "",
        *_origin(run),
        "## Training",
        "```",
        about["recipe"],
        "```",
        _training_table(run, config),
        f"Made with torch {environment['packages']['torch']} on {environment['gpu'] or 'CPU'}, "
        f"{environment['processor_threads']} CPU threads, revision {environment['git_revision']}.",
        "",
        "## Figures",
        "Not evaluated yet." if results is None else figures_section(results),
        "",
        "## Limits",
        about["remarks"],
        "",
        "- X-rays of the figures are projections of CTs with exactly known geometry. There is no radiograph paired with a CT",
        "  here, so accuracy on real radiographs is unknown.",
        f"- Structures below about {2 * grid.spacing_mm:g} mm (two voxels), lesions and small airways are not recovered; bone "
        "edges are blurred.",
        "- `mean` is smooth where the X-rays do not decide; `sample` invents plausible detail; the spread of an ensemble",
        "  is small where all samples are wrong in the same way.",
        "- Arms, implants, devices, other body regions and children are outside what it has seen.",
        "",
        f"Licence of the weights: {about['licence']}.",
    ]
    return "\n".join(lines) + "\n"


def _training_table(run: Path, config: RunConfig) -> str:
    lines = ["| stage | steps | samples | minutes | selected at step | validation |", "|---|---|---|---|---|---|"]
    for name, stage in STAGES.items():
        section = config.section(stage)
        if not (run / name / BEST).exists():
            lines.append(f"| {name} | - | - | - | - | as in the bundle it started from |")
            continue
        progress = load_state(run / name / CHECKPOINT)["progress"]
        best = load_state(run / name / BEST)
        score = ", ".join(f"{key} {value:.2f}" for key, value in best.items() if key.startswith("psnr_"))
        lines.append(
            f"| {name} | {progress['step']} | {progress['step'] * section.batch * section.accumulate} "
            f"| {progress['seconds'] / 60:.0f} | {best['step']} | {score} |"
        )
    return "\n".join(lines) + "\n"
