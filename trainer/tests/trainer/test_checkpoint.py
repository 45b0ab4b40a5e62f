"""Training state in one file: what goes in comes out, a half file never appears."""

import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError
from tiny import differences

from clsdm.errors import InputError
from clsdm_trainer import checkpoint
from clsdm_trainer.checkpoint import load_checkpoint, load_part, load_state, previous, save_checkpoint, save_state


def state() -> dict:
    base = torch.arange(6.0)
    return {
        "numbers": {"tenth": 0.1, "tiny": 5e-324, "big": 2**60, "pi": math.pi},
        "shared": {"view": base[::2], "transposed": base.view(2, 3).T, "same": base, "again": base},
        "progress": {"step": 7, "best": -math.inf, "name": "a/b", "none": None, "flag": True},
        "tensors": {"half": torch.randn(3).bfloat16(), "count": torch.tensor(5), "scalar": torch.tensor(1.5)},
        "optimiser": {"state": {0: {"exp_avg": torch.randn(2, 2)}}, "param_groups": [{"lr": 1e-3, "params": [0, 1]}]},
        "empty": {"dict": {}, "list": []},
    }


def test_what_is_saved_is_loaded_to_the_bit(tmp_path):
    saved = state()
    save_state(tmp_path / "state.safetensors", saved)
    loaded = load_state(tmp_path / "state.safetensors")
    assert differences(saved, loaded) == []
    assert list(loaded["optimiser"]["state"]) == [0]  # keys keep their type


def test_a_colleague_may_read_what_may_be_read_beside_it(tmp_path):
    save_state(tmp_path / "state.safetensors", state())
    (tmp_path / "log.jsonl").touch()
    assert (tmp_path / "state.safetensors").stat().st_mode == (tmp_path / "log.jsonl").stat().st_mode


def test_a_part_without_tensors_is_read_alone_and_a_missing_one_is_named(tmp_path):
    save_state(tmp_path / "state.safetensors", state())
    assert load_part(tmp_path / "state.safetensors", "progress") == state()["progress"]
    with pytest.raises(InputError, match="nothing"):
        load_part(tmp_path / "state.safetensors", "nothing")


def test_a_save_that_fails_leaves_the_file_before_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    save_state(path, {"step": 1})

    def disk_full(tensors: object, name: object, metadata: object) -> None:
        name.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", disk_full)
    with pytest.raises(InputError, match=r"disk full: .* has .* left, at least .* are needed"):
        save_state(path, {"step": 2})
    assert load_state(path) == {"step": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.safetensors"]


OTHERS = {
    "empty": b"",
    "garbage": b"garbage, not safetensors",
    "truncated": safetensors.torch.save({"weights": torch.ones(1000)}, {"state": "[]"})[:-100],
    "of someone else": safetensors.torch.save({"weight": torch.ones(2)}),
    "missing": None,
}


@pytest.mark.parametrize("content", OTHERS.values(), ids=list(OTHERS))
def test_a_damaged_or_missing_file_is_refused_by_name(content, tmp_path):
    path = tmp_path / "state.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"state\.safetensors: not a usable checkpoint"):
        load_state(path)


def flipped(path: Path, at: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << (at % 8)
    path.write_bytes(bytes(data))


def test_no_bit_of_a_file_can_change_without_being_seen(tmp_path):
    path = tmp_path / "state.safetensors"
    saved = state()
    save_state(path, saved)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole)
        flipped(path, at)
        problem = refusal(path)
        if problem is None:
            assert differences(saved, load_state(path)) == [], f"byte {at}"
        else:
            assert "state.safetensors: not a usable checkpoint" in problem
            assert "\n" not in problem


def refusal(path: Path) -> str | None:
    """What is said against a file, if anything."""
    try:
        load_state(path)
    except InputError as error:
        return str(error)
    return None


def test_a_file_of_before_there_were_checksums_is_read(tmp_path):
    from safetensors.torch import save_file

    text = json.dumps([["step", {"value": 3}], ["weights", {"__tensor__": "/weights"}]])
    save_file({"/weights": torch.ones(2)}, tmp_path / "old.safetensors", metadata={"state": text})
    loaded = load_state(tmp_path / "old.safetensors")
    assert loaded["step"] == 3
    assert torch.equal(loaded["weights"], torch.ones(2))


def test_the_checkpoint_before_is_kept_and_is_the_last_one_between_two_renames(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    assert load_checkpoint(path) is None
    for step in (1, 2, 3):
        save_checkpoint(path, {"progress": {"step": step}})
    assert load_checkpoint(path) == {"progress": {"step": 3}}
    assert load_state(previous(path)) == {"progress": {"step": 2}}
    path.unlink()
    assert load_checkpoint(path) == {"progress": {"step": 2}}


@pytest.mark.parametrize("before", ["good", "damaged", "missing"])
def test_a_damaged_checkpoint_is_refused_with_the_way_on(before, tmp_path):
    path = tmp_path / "autoencoder" / "checkpoint.safetensors"
    for step in (250, 500):
        save_checkpoint(path, {"progress": {"step": step}, "weights": torch.randn(5)})
    if before == "damaged":
        flipped(previous(path), -3)
    elif before == "missing":
        previous(path).unlink()
    flipped(path, -3)
    with pytest.raises(InputError) as caught:
        load_checkpoint(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: not a usable checkpoint (damaged: /weights has another SHA-256); ")
    if before == "good":
        assert said.endswith(
            "move it away, and the same command goes on from checkpoint.previous.safetensors (step 250)"
        )
        path.rename(tmp_path / "away")
        assert load_checkpoint(path)["progress"]["step"] == 250
    else:
        assert said.endswith(f"move {path.parent} away and train the stage again")
