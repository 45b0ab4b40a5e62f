"""The script for a machine that is lent: what it leaves behind, also where a stage fails, and what it refuses at once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import REPOSITORY

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell script")

TRAINER = """\
#!/bin/sh
shift 2
echo "$1" >> "$CALLS"
if [ "$1" = prepare ]; then
    mkdir -p "$WORK/store" && touch "$WORK/store/manifest.json"
    exit 0
fi
mkdir -p "$WORK/run/$1"
touch "$WORK/run/config.yaml" "$WORK/run/$1/best.safetensors" "$WORK/run/$1/checkpoint.safetensors"
[ "$1" != "$STOPS" ] || exit "$CODE"
"""
"""In place of python: notes what it was called for."""


def sliced(folder: Path, *arguments: str, stops: str = "", code: int = 0) -> tuple[int, list[str], list[str], str]:
    """Exit code, the trainer's calls, the files that travel back, and what was said."""
    python, calls = folder / "python", folder / "calls"
    python.write_text(TRAINER)
    python.chmod(0o755)
    calls.touch()
    place = {name: str(folder / name.lower()) for name in ("WORK", "CALLS")}
    environment = {**os.environ, **place, "PYTHON": str(python), "STOPS": stops, "CODE": str(code)}
    command = [
        "sh",
        str(REPOSITORY / "trainer" / "train_slice.sh"),
        str(folder / "data"),
        place["WORK"],
        str(folder / "out"),
    ]
    run = subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
    back = sorted(path.relative_to(folder / "out").as_posix() for path in (folder / "out").rglob("*") if path.is_file())
    return run.returncode, calls.read_text().split(), back, run.stderr


def test_best_weights_travel_back_and_checkpoints_stay(tmp_path):
    code, calls, back, _ = sliced(tmp_path, "5")
    assert (code, calls) == (0, ["prepare", "autoencoder", "alignment", "diffusion"])
    assert back == [*(f"{stage}/best.safetensors" for stage in ("alignment", "autoencoder")), "config.yaml",
                    "diffusion/best.safetensors"]  # fmt: skip
    assert sliced(tmp_path, "5", "alignment")[1][4:] == ["alignment"]  # the store is there


@pytest.mark.parametrize(("ends", "code"), [(3, 0), (4, 4)])
def test_where_a_stage_is_cut_or_fails_the_earlier_ones_travel_back(ends, code, tmp_path):
    found, calls, back, _ = sliced(tmp_path, "5", stops="alignment", code=ends)
    assert (found, calls) == (code, ["prepare", "autoencoder", "alignment"])
    assert "autoencoder/best.safetensors" in back


@pytest.mark.parametrize("arguments", [("0.5",), ("",), ("soon",), ("0",), ("-5",), ("08",), ("5", "denoiser")])
def test_what_cannot_be_meant_is_refused_before_anything_is_prepared(arguments, tmp_path):
    code, calls, _, said = sliced(tmp_path, *arguments)
    assert (code, calls) == (2, [])
    assert said.count("\n") == 1
    assert "expected" in said
