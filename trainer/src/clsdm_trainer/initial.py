"""Fine-tuning: a run that starts from a bundle's weights instead of from nothing.

The weights are copied into the run's folder, so that it goes on without the bundle. Whoever was trained on for the bundle
was trained on for the run: its patients join the run's, and none of them may be validated or tested on.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from clsdm.errors import InputError
from clsdm.files.strict_json import to_plain
from clsdm.model.bundle import Bundle, patient_mark
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm_trainer.checkpoint import load_state, save_state
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import write_json
from clsdm_trainer.recipe import RunConfig

WEIGHTS, ORIGIN = "initial.safetensors", "initial.json"


@dataclass(frozen=True)
class Origin:
    """The bundle that a run started from.

    Attributes:
        id: its name.
        version: of the model.
        sha256: of its weights.
        anatomy: what it had seen.
    """

    id: str
    version: str
    sha256: str
    anatomy: str

    @classmethod
    def of(cls, bundle: Bundle) -> Origin:
        """That of a bundle."""
        manifest = bundle.manifest
        return cls(manifest.id, manifest.version, bundle.hash, manifest.trained_anatomy)


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
        )
    trained = set(bundle.manifest.trained_patients)
    kept_back = [case.id for case in store.cases() if case.split in ("val", "test")]
    seen = [case.id for case in store.cases() if case.id in kept_back and patient_mark(case.patient) in trained]
    if seen:
        raise InputError(
            f"{bundle.path}: trained on {len(seen)} of the {len(kept_back)} patients that {store.folder} keeps back for "
            f"validation and test ({', '.join(seen[:3])} ...); expected patients it has never seen"
        )


def differences(first: ModelConfig, second: ModelConfig) -> list[str]:
    """Sections in which two models differ, with what stands in either."""
    pairs = [(item.name, *(to_plain(getattr(model, item.name)) for model in (first, second))) for item in fields(first)]
    return [f"{name} {a} and {b}" for name, a, b in pairs if a != b]


def write_initial(folder: Path, bundle: Bundle) -> None:
    """Copy a bundle's weights and its name into a run's folder.

    Raises:
        InputError: the bundle is damaged, or the folder cannot be written.
    """
    save_state(folder / WEIGHTS, dict(bundle.model().state_dict()))
    write_json(folder / ORIGIN, asdict(Origin.of(bundle)))


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

    Raises:
        InputError: they are missing or damaged.
    """
    if origin_of(folder) is None:
        return False
    model.load_state_dict(load_state(folder / WEIGHTS))
    return True
