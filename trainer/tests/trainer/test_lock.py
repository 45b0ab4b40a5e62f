"""One process trains in a folder, and the folder is free again however that process ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from one_line import refusal
from tiny import cpu_fabric, tiny_config, tiny_store
from tiny import train as train_stages

from clsdm.errors import InputError
from clsdm_trainer.lock import LOCK, in_first, only_one, only_one_of

HOLD = """
import sys
from pathlib import Path
from clsdm_trainer.lock import only_one

with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path):
    """Another process that holds the folder ``run``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_process_is_refused_by_the_name_of_the_first(holder, tmp_path):
    with pytest.raises(InputError, match=f"run: process {holder.pid} on .* is training in this folder; wait for it"):
        only_one(tmp_path / "run").__enter__()


def test_the_lock_of_a_process_that_was_killed_does_not_last(holder, tmp_path):
    holder.kill()
    holder.wait()
    with only_one(tmp_path / "run"):
        pass


def test_a_lock_is_held_within_one_process_too_and_given_back_after_an_error(tmp_path):
    def held() -> None:
        with only_one(tmp_path):
            with pytest.raises(InputError, match=f"process {os.getpid()}"):
                only_one(tmp_path).__enter__()
            raise KeyError

    with pytest.raises(KeyError):
        held()
    with only_one(tmp_path):
        pass
    assert [entry.name for entry in tmp_path.iterdir()] in ([LOCK], [])


def test_a_folder_that_was_made_for_nothing_is_gone_again_and_one_with_something_stays(tmp_path):
    with only_one(tmp_path / "deep" / "new"):
        pass
    assert list(tmp_path.iterdir()) == []
    with only_one(tmp_path / "deep" / "new"):
        (tmp_path / "deep" / "new" / "config.yaml").write_text("kept")
    assert (tmp_path / "deep" / "new" / "config.yaml").exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be made and locked"):
        only_one(tmp_path / "file" / "run").__enter__()


def test_the_first_of_a_group_holds_the_folder_and_what_it_refuses_is_refused_by_all(tmp_path):
    fabric = cpu_fabric(tiny_config(), "autoencoder")
    with only_one_of(tmp_path, fabric), pytest.raises(InputError, match="is training in this folder"):
        only_one_of(tmp_path, fabric).__enter__()

    def fail() -> None:
        raise InputError("not today")

    with pytest.raises(InputError, match="not today"):
        in_first(fabric, fail)


def test_the_command_line_refuses_a_run_that_another_process_trains(holder, tmp_path, capsys):
    from clsdm_trainer.cli import main
    from clsdm_trainer.recipe import save_config

    tiny_store(tmp_path / "store")
    save_config(tiny_config(steps=2), tmp_path / "recipe.yaml")
    command = ["autoencoder", "--preset", str(tmp_path / "recipe.yaml"), "--store", str(tmp_path / "store")]
    command += ["--run", str(tmp_path / "run"), "--device", "cpu"]
    assert main(command) == 2
    assert f"process {holder.pid}" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.yaml").exists()
    holder.kill()
    holder.wait()
    assert main(command) == 0


@pytest.mark.parametrize("error", ["gpu", "cpu", "python"])
def test_memory_that_ends_in_training_is_said_in_words_with_what_to_do(error, tmp_path, monkeypatch):
    import torch

    from clsdm_trainer.loop import Runner

    errors = {
        "gpu": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB"),
        "cpu": RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"
        ),
        "python": MemoryError(),
    }

    def step(self: Runner, number: int) -> None:
        raise errors[error]

    monkeypatch.setattr(Runner, "step", step)
    store = tiny_store(tmp_path / "store")
    said = refusal(train_stages, tiny_config(batch=4), store, tmp_path / "run", "autoencoder")
    assert re.match(r"autoencoder: the memory .* autoencoder\.batch 2 and accumulate 2", said)
