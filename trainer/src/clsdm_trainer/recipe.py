"""A recipe: what a run is made of, one frozen and validated object, from a named preset or a YAML file.

An unknown key is an error, and the resolved recipe is saved with the run. Network sizes are the dataclasses of the core,
so a bundle and a recipe speak of the same thing.
"""

import reprlib
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from clsdm.errors import InputError, printable
from clsdm.files.atomic import write_atomically
from clsdm.limits import check_bytes
from clsdm.model.clsdm import ModelConfig
from clsdm_trainer.config import AugmentConfig, Frozen, PlacementConfig, Seed
from clsdm_trainer.stages import Stage
from clsdm_trainer.stages.alignment import AlignmentStageConfig
from clsdm_trainer.stages.autoencoder import AutoencoderStageConfig
from clsdm_trainer.stages.base import Section
from clsdm_trainer.stages.diffusion import DiffusionStageConfig
from clsdm_trainer.strict_yaml import read_yaml

RECIPE_BYTES = 2**20
Recipe = TypeVar("Recipe", bound="RunConfig")


class RunConfig(Frozen):
    """A whole recipe; a stage's section has the stage's name."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,63}$")
    seed: Seed = 0
    model: ModelConfig
    data: PlacementConfig = PlacementConfig()
    augment: AugmentConfig = AugmentConfig()
    autoencoder: AutoencoderStageConfig
    alignment: AlignmentStageConfig
    diffusion: DiffusionStageConfig

    @model_validator(mode="before")
    @classmethod
    def _without_empty_sections(cls, table: object) -> object:
        """Runs of before name sections of the benchmark, empty, that this recipe does not have."""
        if not isinstance(table, dict):
            return table
        return {key: value for key, value in table.items() if value is not None or key in cls.model_fields}

    @classmethod
    def load(cls: type[Recipe], name_or_file: str) -> Recipe:
        """A preset by name, or a YAML file.

        Raises:
            InputError: no such preset or file, or a field that does not belong or does not fit.
        """
        try:
            return cls.model_validate(read_yaml(_text_of(name_or_file), f"configuration {name_or_file}"))
        except ValidationError as error:
            raise InputError(f"configuration {name_or_file}: {first_of(error)}") from None

    def section(self, stage: type[Stage[Section]]) -> Section:
        """The section of a stage.

        Raises:
            InputError: the recipe has none.
        """
        section = dict(self).get(stage.name)
        if not isinstance(section, stage.Config):
            raise InputError(f"{self.name}: the recipe has no section {stage.name!r}")
        return section  # type: ignore[return-value]  # Config is the class of Section


def preset_names() -> list[str]:
    """The shipped recipes."""
    folder = resources.files("clsdm_trainer") / "presets"
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(name_or_file: str) -> RunConfig:
    """A preset by name, or a YAML file; see :meth:`RunConfig.load`."""
    return RunConfig.load(name_or_file)


def _text_of(name_or_file: str) -> str:
    if name_or_file in preset_names():
        return (resources.files("clsdm_trainer") / "presets" / f"{name_or_file}.yaml").read_text(encoding="utf-8")
    path = Path(name_or_file)
    if not path.is_file():
        raise InputError(f"configuration {name_or_file!r}: no such file, nor one of {', '.join(preset_names())}")
    try:
        check_bytes(path.stat().st_size, RECIPE_BYTES, f"configuration {name_or_file}", "text")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"configuration {name_or_file}: cannot be read as text ({error})") from None


def first_of(error: ValidationError) -> str:
    """The first of a validation's complaints in one line: field, what is expected, what was found."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return printable(f"{field}: {first['msg']} (got {reprlib.repr(first['input'])})")


def changed(config: Recipe, changes: dict[str, Any]) -> Recipe:
    """The recipe with some of its fields replaced, as deep as the nested ``changes`` go.

    Raises:
        InputError: a change that does not belong or does not fit.
    """
    try:
        return type(config).model_validate(merged(config.model_dump(mode="json"), changes))
    except ValidationError as error:
        raise InputError(f"change of {config.name}: {first_of(error)}") from None


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``; tables are merged, everything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict) and key not in _REPLACED
        result[key] = merged(result[key], value) if both else value
    return result


_REPLACED = ("presets", "view_counts")
"""Tables of weights, which are one value each."""


def save_config(config: RunConfig, path: Path) -> None:
    """Write the resolved configuration as YAML that :func:`load_config` reads back."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)

    def write(name: Path) -> None:
        name.write_bytes(text.encode())

    write_atomically(path, write)  # several processes may open one run at once
