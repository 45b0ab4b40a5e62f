"""Two processes do what one does with twice the accumulation, and they stop together.

Run as a script under ``torchrun`` this file is the worker: ``test_distributed.py STORE RUN``.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from places import TESTS
from tiny import PYRAMID, STAGE_NAMES, checkpoint, cpu_fabric, tiny_config, tiny_store, train

from clsdm.errors import InputError
from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import BEST
from clsdm_trainer.recipe import RunConfig, changed
from clsdm_trainer.run import build_runner, train_stage
from clsdm_trainer.stages import STAGES, AutoencoderStage

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="this torch was built without gloo"),
]

STOPPED, REFUSED = "stopped", "refused.txt"


def shared_config() -> RunConfig:
    """Two micro-batches a step over all processes, the adversary and the fine estimate from the second step on."""
    config = tiny_config(steps=3, accumulate=2, adversarial_start=1, model=PYRAMID)
    return changed(config, {"alignment": {"coarse_share": 0.34}})


def worker(store: Store, run: Path) -> None:
    """What each of two processes does."""
    torch.set_num_threads(1)
    config = shared_config()
    for name in STAGE_NAMES:
        train_stage(config, STAGES[name], store, run, cpu_fabric(config, name, 2), lambda record: None)
    fabric = cpu_fabric(config, "autoencoder", 2)
    runner = build_runner(tiny_config(steps=50, accumulate=2), AutoencoderStage, store, run / STOPPED, fabric, list)
    runner.run(lambda: fabric.global_rank == 1 and runner.progress.step == 2)
    try:
        build_runner(tiny_config(accumulate=3), AutoencoderStage, store, run / "odd", fabric, list)
    except InputError as error:
        (run / f"{fabric.global_rank}{REFUSED}").write_text(str(error))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same recipe trained by one process and by two."""
    folder = tmp_path_factory.mktemp("runs")
    store = tiny_store(folder / "store")
    train(shared_config(), store, folder / "one", *STAGE_NAMES)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launcher += ["--master_addr", "127.0.0.1", "--master_port", str(port)]
    path = os.pathsep.join([str(TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    command = [*launcher, __file__, str(store.folder), str(folder / "two")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "one", folder / "two"


def largest_difference(one: Any, two: Any) -> float:
    """Largest relative difference (by norm) between the tensors of two nested structures."""
    if isinstance(one, torch.Tensor):
        return float((one - two).norm() / one.norm().clamp_min(1e-12))
    if isinstance(one, (dict, list)):
        assert len(one) == len(two)
        keys = one if isinstance(one, dict) else range(len(one))
        return max((largest_difference(one[key], two[key]) for key in keys), default=0.0)
    return 0.0


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_two_processes_reach_the_weights_of_one_with_twice_the_accumulation(name, runs):
    one, two = (checkpoint(run, name) for run in runs)
    assert one["progress"]["step"] == two["progress"]["step"] == 3
    for section in ("players", "optimisers", "ema"):
        assert largest_difference(one[section], two[section]) <= 1e-6


@pytest.mark.parametrize("name", STAGE_NAMES)
def test_two_processes_select_the_same_best_weights(name, runs):
    one, two = (load_state(run / name / BEST) for run in runs)
    assert one["step"] == two["step"]
    assert largest_difference(one["weights"], two["weights"]) <= 1e-6


def test_two_processes_measure_the_same_latents(runs):
    one, two = (load_state(run / AutoencoderStage.product) for run in runs)
    assert largest_difference(one, two) <= 1e-5


def test_the_second_micro_batch_is_not_the_first_again(runs):
    """If each process took the same samples, weights would equal those of a run without accumulation."""
    store = Store.open(runs[0].parent / "store")
    folder = runs[0].parent / "single"
    train(changed(shared_config(), {"autoencoder": {"accumulate": 1}}), store, folder, "autoencoder")
    one, single = checkpoint(runs[1], "autoencoder"), checkpoint(folder, "autoencoder")
    assert largest_difference(one["players"], single["players"]) > 1e-3


def test_when_one_process_is_asked_to_stop_both_stop_after_the_same_step(runs):
    assert checkpoint(runs[1] / STOPPED, "autoencoder")["progress"]["step"] == 2


def test_an_accumulation_that_the_processes_cannot_share_is_refused_by_each(runs):
    for rank in (0, 1):
        assert (
            "autoencoder.accumulate is 3: must be a multiple of the 2 processes"
            in (runs[1] / f"{rank}{REFUSED}").read_text()
        )


if __name__ == "__main__":
    worker(Store.open(sys.argv[1]), Path(sys.argv[2]))
