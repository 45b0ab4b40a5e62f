"""Recipes: every key is known, every preset loads, and what is saved is what was meant."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from pydantic import ValidationError
from tiny import tiny_config

from clsdm.errors import InputError
from clsdm.model.clsdm import CLSDM
from clsdm.model.condition import FOLD
from clsdm_trainer.recipe import RunConfig, load_config, preset_names, save_config

SECTIONS = [
    (),
    ("augment",),
    ("data",),
    ("model",),
    ("model", "grid"),
    ("model", "detector"),
    ("model", "autoencoder"),
    ("model", "condition"),
    ("model", "denoiser"),
    ("model", "process"),
    ("autoencoder",),
    ("autoencoder", "optimiser"),
    ("alignment",),
    ("alignment", "optimiser"),
    ("diffusion",),
    ("diffusion", "optimiser"),
]


def changed(path: tuple[str, ...], value: object) -> dict[str, Any]:
    """The tiny recipe as a plain table with one value changed or added."""
    table = copy.deepcopy(tiny_config().model_dump(mode="json"))
    section = table
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    return table


def load_table(folder: Path, table: object) -> RunConfig:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(table), encoding="utf-8")
    return load_config(str(path))


@pytest.mark.parametrize("section", SECTIONS, ids=[".".join(section) or "top" for section in SECTIONS])
def test_an_unknown_key_is_refused_and_named(section, tmp_path):
    with pytest.raises(InputError) as caught:
        load_table(tmp_path, changed((*section, "bogus"), 1))
    assert f" {'.'.join((*section, 'bogus'))}: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("autoencoder", "steps"), "many"),
        (("diffusion", "precision"), "16-mixed"),
        (("diffusion", "loss"), "l3"),
        (("model", "autoencoder", "stem"), "fourier"),
        (("model", "denoiser", "channels"), "wide"),
        (("model", "process", "kind"), "cold"),
        (("augment", "view_counts"), {"two": 1.0}),
    ],
)
def test_a_value_that_does_not_fit_is_refused_with_its_field(path, value, tmp_path):
    with pytest.raises(InputError, match=r"recipe\.yaml: " + r"\.".join(path[:2])):
        load_table(tmp_path, changed(path, value))


def test_a_missing_field_is_named(tmp_path):
    table = tiny_config().model_dump(mode="json")
    del table["diffusion"]["steps"]
    with pytest.raises(InputError, match=r"diffusion\.steps: Field required"):
        load_table(tmp_path, table)


def test_a_denoiser_with_unequal_lists_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"model\.denoiser: .*2 channel widths but 1 attention flags"):
        load_table(tmp_path, changed(("model", "denoiser", "attention"), [True]))


@pytest.mark.parametrize("content", ["a: [1", "", "- 1\n- 2\n", "just words"])
def test_a_file_that_is_no_table_is_refused_in_one_line(content, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"recipe\.yaml") as caught:
        load_config(str(path))
    assert "\n" not in str(caught.value)


def test_a_binary_file_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match=r"recipe\.yaml"):
        load_config(str(path))


def test_a_name_that_is_neither_preset_nor_file_is_refused_with_the_presets():
    with pytest.raises(InputError, match=r"'nonesuch': no such file, nor one of .*openkbp64"):
        load_config("nonesuch")


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


@pytest.mark.parametrize("name", preset_names())
def test_the_networks_of_a_preset_fit_together(name):
    config = load_config(name)
    with torch.device("meta"):
        model = CLSDM(config.model)
    assert model.config.latent_size * model.config.autoencoder.factor == config.model.grid.size
    for finest, widths in (
        (config.model.grid.size // FOLD, config.model.condition.channels),
        (model.config.latent_size // config.model.denoiser.patch, config.model.denoiser.channels),
    ):
        assert finest % 2 ** (len(widths) - 1) == 0
    assert config.alignment.batch >= 2


def test_the_saved_recipe_holds_every_value_also_the_defaults(tmp_path):
    config = tiny_config()
    save_config(config, tmp_path / "config.yaml")
    table = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert table["augment"]["rotation_deg"] == config.augment.rotation_deg
    assert table["diffusion"]["ema"] == config.diffusion.ema
    assert table["model"]["process"]["source_noise"] == config.model.process.source_noise
    assert load_config(str(tmp_path / "config.yaml")) == config
    assert load_config(str(tmp_path / "config.yaml")) != tiny_config(seed=1)
