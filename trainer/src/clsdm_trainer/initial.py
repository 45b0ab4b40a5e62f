"""Fine-tuning: a run that starts from a bundle's weights instead of from nothing.

The weights are copied into the run's folder, so that it goes on without the bundle. Whoever was trained on for the bundle
was trained on for the run: its patients join the run's, and none of them may be validated or tested on. Patients on whom
the bundle was selected may be selected on again.

A recipe with ``condition.fine`` widths can also start from a bundle without, whose grid is half as fine: that bundle's
estimate is the recipe's coarse one (a model that grows: Karras et al., ICLR 2018). The other networks begin from nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path

from torch import Tensor

from clsdm.errors import InputError
from clsdm.files.strict_json import to_plain
from clsdm.model.bundle import Bundle, patient_mark
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.model.condition import ConditionConfig, ConditionNet
from clsdm_trainer.checkpoint import load_state, save_state
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import write_json
from clsdm_trainer.recipe import RunConfig

NAMED = 20
"""Most patients that a message names."""

WEIGHTS, ORIGIN = "initial.safetensors", "initial.json"


@dataclass(frozen=True)
class Origin:
    """The bundle that a run started from.

    Attributes:
        id: its name.
        version: of the model.
        sha256: of its weights.
        anatomy: what it had seen.
        grown: whether nothing but its estimate was taken, as the coarse one of a finer grid.
        patients: marks of those whom it has seen; empty in a run of before they were noted.
    """

    id: str
    version: str
    sha256: str
    anatomy: str
    grown: bool = False
    patients: Sequence[str] = field(default=(), compare=False)

    @classmethod
    def of(cls, bundle: Bundle, config: RunConfig) -> Origin:
        """That of a run of a recipe."""
        manifest = bundle.manifest
        grown = grows(manifest.model, config.model)
        patients = sorted({*manifest.trained_patients, *manifest.selected_patients})
        return cls(manifest.id, manifest.version, bundle.hash, manifest.trained_anatomy, grown, patients)


def check_initial(bundle: Bundle, config: RunConfig, store: Store) -> None:
    """Refuse a bundle that does not fit the recipe, or that was trained on patients whom the store keeps back.

    Raises:
        InputError: names the sizes that differ, or the patients.
    """
    differing = differences(bundle.manifest.model, config.model)
    if differing:
        raise InputError(
            f"{bundle.path}: its networks are not those of the recipe {config.name}: {'; '.join(differing)} "
            "(bundle, recipe); expected the same grid, detector and networks"
            + (", or those of the recipe's coarse estimate" if config.model.condition.fine else "")
        )
    seen = set(bundle.manifest.trained_patients)
    spoilt = {"val": seen - set(bundle.manifest.selected_patients), "test": seen}
    kept_back = [case for case in store.cases() if case.split in spoilt]
    known = [case.id for case in kept_back if patient_mark(case.patient) in spoilt[case.split]]
    if known:
        raise InputError(
            f"{bundle.path}: has seen {len(known)} of the {len(kept_back)} patients that {store.folder} keeps back for "
            f"validation and test ({', '.join(known[:NAMED])}{' ...' if len(known) > NAMED else ''}); expected patients it has "
            "never seen: move these to train in a splits.json and prepare again (docs/data.md), or train without --init"
        )


def differences(first: ModelConfig, second: ModelConfig) -> list[str]:
    """Sections in which a bundle's model and a recipe's differ, with what stands in either; no network depends on the steps
    that a sample takes by default."""
    if grows(first, second):
        return []
    pairs = [(item.name, *(to_plain(getattr(model, item.name)) for model in (first, second))) for item in fields(first)]
    return [f"{name} {a} and {b}" for name, a, b in pairs if a | {"steps": None} != b | {"steps": None}]


def grows(first: ModelConfig, second: ModelConfig) -> bool:
    """Whether the estimate of the first model is the coarse one of the second."""
    if first.condition.fine or not second.condition.fine:
        return False
    halved = replace(second.grid, size=second.grid.size // 2, spacing_mm=2.0 * second.grid.spacing_mm)
    return (
        first.grid == halved
        and first.detector.field_mm == second.detector.field_mm
        and _estimating(first.condition) == _estimating(second.condition)
    )


def _estimating(condition: ConditionConfig) -> ConditionConfig:
    """A condition network's sizes, those left out that its coarse estimate does not depend on."""
    return replace(condition, condition_channels=0, contrast_channels=0, mean=True, fine=())


def taken(bundle: Bundle, config: RunConfig) -> dict[str, Tensor]:
    """The weights of a bundle that a recipe starts from.

    Raises:
        InputError: the bundle is damaged.
    """
    weights = dict(bundle.model().state_dict())
    if not grows(bundle.manifest.model, config.model):
        return weights
    coarse = tuple(f"condition.{name}." for name in ConditionNet.COARSE)
    return {name: value for name, value in weights.items() if name.startswith(coarse)}


def write_initial(folder: Path, bundle: Bundle, config: RunConfig) -> None:
    """Copy what a recipe takes of a bundle's weights, and its name, into a run's folder.

    Raises:
        InputError: the bundle is damaged, or the folder cannot be written.
    """
    save_state(folder / WEIGHTS, taken(bundle, config))
    write_json(folder / ORIGIN, asdict(Origin.of(bundle, config)))


def origin_of(folder: Path) -> Origin | None:
    """The bundle that a run started from; None for a run that started from nothing.

    Raises:
        InputError: damaged.
    """
    path = folder / ORIGIN
    if not path.exists():
        return None
    try:
        return Origin(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); expected what the run started from") from None


def load_initial(model: CLSDM, folder: Path) -> bool:
    """Put the weights that the run started from into the model, where it started from a bundle.

    Returns:
        Whether every network has them.

    Raises:
        InputError: they are missing or damaged.
    """
    origin = origin_of(folder)
    if origin is None:
        return False
    model.load_state_dict(load_state(folder / WEIGHTS), strict=not origin.grown)
    return not origin.grown
