"""Recipes and command lines that cannot be meant: one line, exit code 2, and no folder left behind."""

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny import tiny_config

from clsdm_trainer.cli import main
from clsdm_trainer.data.store import Store

NAN, INF = float("nan"), float("inf")
WRONG_VALUES: dict[str, list[Any]] = {
    "name": ["", "../elsewhere", "\x1b[31mred"],
    "seed": [-1, 2**70, 0.5, True],
    "model.grid.size": [0, -16, 17, 18, 100_000],
    "model.grid.spacing_mm": [0.0, NAN],
    "model.detector.size": [0, 30],
    "model.detector.field_mm": [-480.0],
    "model.autoencoder.channels": [[], [24] * 9, [0]],
    "model.autoencoder.latent_channels": [0],
    "model.autoencoder.stem": ["fourier"],
    "model.condition.channels": [[24] * 6],
    "model.condition.fine": [[24], [0], [24] * 6],
    "model.condition.image_channels": [[]],
    "model.condition.features": [0],
    "model.denoiser.channels": [[24, -24], "wide"],
    "model.denoiser.patch": [3],
    "model.denoiser.head_width": [0],
    "model.denoiser.res_blocks": [10**29],
    "model.process.kind": ["cold"],
    "model.process.steps": [0],
    "model.process.source_noise": [-1.0, 1e30],
    "model.process.train_steps": [10**9, 10**400],
    "model.process.beta_start": [0.5],
    "model.process.beta_end": [1.0],
    "data.margin": [-1],
    "augment.rotation_deg": [-5.0],
    "augment.scale": [2.0],
    "augment.flip_probability": [1.5],
    "augment.noise": [INF],
    "augment.distance_jitter": [1.0],
    "augment.presets": [{}, {"telescope": 1.0}, {"chest": 0.0}],
    "augment.view_counts": [{2: -1.0}, {"two": 1.0}, {0: 1.0}, {9: 1.0}],
    "autoencoder.optimiser.lr": [1e6, NAN],
    "autoencoder.optimiser.betas": [[0.9, 1.0]],
    "autoencoder.optimiser.weight_decay": [INF],
    "autoencoder.optimiser.warmup_steps": [-1],
    "autoencoder.steps": [10**12, True, "many"],
    "autoencoder.batch": [0, 10**6],
    "autoencoder.accumulate": [0],
    "autoencoder.clip": [INF],
    "autoencoder.kl_weight": [-1.0, NAN],
    "autoencoder.blur_probability": [7.0],
    "autoencoder.adversarial_start": [-3],
    "alignment.batch": [1],
    "alignment.coarse_share": [0.5, 1.5],
    "alignment.temperature": [1e-30],
    "alignment.voxel_weight": [INF],
    "diffusion.ema": [1.0],
    "diffusion.precision": ["16-mixed"],
    "diffusion.loss": ["l3"],
}
WRONG = [(field, value) for field, values in WRONG_VALUES.items() for value in values]
TEXTS = [
    "",
    "- 1\n- 2\n",
    "just words",
    b"\xff\xfe\x00\x81",
    "[",
    "a: 1\na: [",
    "x" * 2_000_000,
    "seed: " + "9" * 6000,
    "name: 2001-99-99",
    "&a [*a]",
    "\0",
    "seed: !!python/name:os",
]


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on standard error of a command that exits with 2."""
    capsys.readouterr()
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    told = capsys.readouterr()
    assert code == 2, told
    assert told.out == ""
    assert told.err.count("\n") == 1, told.err
    assert told.err[:-1].isprintable()
    assert len(told.err) < 1000
    return told.err


def training(recipe: Path, store: Store, run: Path) -> list[str]:
    about = ["--about", str(store.folder / "volumes")]  # is given, so that the recipe is what there is to refuse
    return ["all", "--preset", str(recipe), "--store", str(store.folder), "--run", str(run), "--device", "cpu", *about]


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{field}={value!s:.20}" for field, value in WRONG])
def test_a_value_that_cannot_be_meant_is_refused_before_anything_is_written(field, value, store, tmp_path, capsys):
    table = copy.deepcopy(tiny_config(steps=1).model_dump(mode="json"))
    *path, last = field.split(".")
    section = table
    for name in path:
        section = section[name]
    section[last] = value
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    line = refusal(training(tmp_path / "recipe.yaml", store, tmp_path / "deep" / "run"), capsys)
    assert "recipe" in line
    assert field.partition(".")[0] in line or "its networks do not fit together" in line
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize("text", TEXTS, ids=[repr(text[:20]) for text in TEXTS])
def test_a_text_that_is_no_recipe_is_refused(text, store, tmp_path, capsys):
    (tmp_path / "recipe.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refusal(training(tmp_path / "recipe.yaml", store, tmp_path / "run"), capsys)
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.yaml"]


@pytest.mark.parametrize(
    "option",
    [
        ("--minutes", "nan"),
        ("--minutes", "-1"),
        ("--minutes", "soon"),
        ("--devices", "0"),
        ("--devices", "-2"),
        ("--devices", "100000"),
        ("--nodes", "0"),
        ("--device", "tpu"),
        ("--colour", "\x1b[31mred"),
    ],
    ids=" ".join,
)
def test_an_option_of_the_training_out_of_range_is_refused(option, store, tmp_path, capsys):
    assert option[0] in refusal([*training(tmp_path / "recipe.yaml", store, tmp_path / "run"), *option], capsys)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("prepare", ("--workers", "0")),
        ("prepare", ("--workers", "1e3")),
        ("prepare", ("--out", "")),
        ("evaluate", ("--out", "")),
        ("all", ("--run", "")),
        ("evaluate", ("--seeds", "-1")),
        ("evaluate", ("--seeds", str(2**64))),
        ("evaluate", ("--samples", "1")),
        ("score", ("--spacing", "0")),
        ("evaluate", ("--angles", "inf")),
        ("benchmark", ("--budget", "0")),
        ("benchmark", ("--minutes-each", "0")),
    ],
)
def test_an_option_of_the_other_commands_out_of_range_is_refused(command, option, capsys):
    assert option[0] in refusal([command, *option], capsys)


def test_a_name_that_is_too_long_is_refused_and_no_defect(tmp_path, capsys):
    command = ["autoencoder", "--store", "x" * 300, "--run", str(tmp_path / "run")]
    assert "name too long" in refusal(command, capsys)


@pytest.mark.parametrize(
    ("line", "said"),
    [("seed: 1:30", "seed: "), ("seed: 7", "'seed' stands twice, line"), ("model: {seed: 0x1F}", "stands twice")],
)
def test_a_whole_recipe_with_one_line_that_yaml_reads_otherwise_is_refused(line, said, store, tmp_path, capsys):
    table = tiny_config(steps=1).model_dump(mode="json")
    if line == "seed: 1:30":
        del table["seed"]
    (tmp_path / "recipe.yaml").write_text(f"{yaml.safe_dump(table)}{line}\n", encoding="utf-8")
    assert said in refusal(training(tmp_path / "recipe.yaml", store, tmp_path / "run"), capsys)
