"""Recipes: every key is known, every preset loads, and what is saved is what was meant."""

from pathlib import Path

import pytest
import yaml
from one_line import refusal
from pydantic import ValidationError
from tiny import STAGE_NAMES, tiny_config

from clsdm.errors import InputError
from clsdm_trainer.recipe import RunConfig, load_config, preset_names, save_config

STAGE_FIELDS = tuple((stage, *more) for stage in STAGE_NAMES for more in ((), ("optimiser",)))
MODEL_FIELDS = ("grid", "detector", "autoencoder", "condition", "denoiser", "process")
SECTIONS = [(), ("augment",), ("data",), ("model",), *(("model", part) for part in MODEL_FIELDS), *STAGE_FIELDS]


def load_changed(folder: Path, path: tuple[str, ...], value: object) -> RunConfig:
    """The tiny recipe with one value changed, added or, where it is None, left out."""
    table = tiny_config().model_dump(mode="json")
    section = table
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    if value is None:
        del section[path[-1]]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    return load_config(str(folder / "recipe.yaml"))


@pytest.mark.parametrize("section", SECTIONS, ids=[".".join(section) or "top" for section in SECTIONS])
def test_an_unknown_key_is_refused_and_named(section, tmp_path):
    said = refusal(load_changed, tmp_path, (*section, "bogus"), 1)
    assert f" {'.'.join((*section, 'bogus'))}: " in said


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("diffusion.steps", None, r"diffusion\.steps: Field required"),
        ("model.denoiser.attention", [True], r"model\.denoiser: .*2 channel widths but 1 attention flags"),
    ],
)
def test_what_is_missing_or_does_not_match_is_named(path, value, said, tmp_path):
    with pytest.raises(InputError, match=said):
        load_changed(tmp_path, tuple(path.split(".")), value)


def test_a_recipe_that_names_empty_sections_of_the_benchmark_is_read_as_one_without(tmp_path):
    table = {**tiny_config().model_dump(mode="json"), "joint": None, "baseline": None}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    assert load_config(str(tmp_path / "config.yaml")) == tiny_config()


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        tiny_config().seed = 3


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_and_survives_being_saved(name, tmp_path):
    config = load_config(name)
    assert config.name == name
    save_config(config, tmp_path / "config.yaml")
    assert load_config(str(tmp_path / "config.yaml")) == config
