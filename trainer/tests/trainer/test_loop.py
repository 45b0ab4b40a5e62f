"""The loop: cut anywhere and continued it reaches the same bits, and a loss that is not finite stops it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from places import TESTS
from tiny import PYRAMID, STAGE_NAMES, checkpoint, cpu_fabric, differences, run_to, tiny_config, tiny_runner, train

from clsdm.errors import InputError
from clsdm_trainer import loop
from clsdm_trainer.checkpoint import load_state, save_checkpoint, save_state
from clsdm_trainer.config import OptimiserConfig
from clsdm_trainer.data.store import Store
from clsdm_trainer.loop import BEST, CHECKPOINT, LOG, NonFiniteLossError
from clsdm_trainer.optim import learning_rate
from clsdm_trainer.recipe import changed
from clsdm_trainer.run import build_runner
from clsdm_trainer.stages import STAGES


@pytest.fixture(scope="module")
def earlier(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose autoencoder and alignment are trained."""
    folder = tmp_path_factory.mktemp("earlier")
    train(tiny_config(steps=2), store, folder, "autoencoder", "alignment")
    return folder


def copy_of(run: Path, folder: Path, before: str) -> Path:
    """A copy of a run that knows nothing of stage ``before`` and those after it."""
    later = STAGE_NAMES[STAGE_NAMES.index(before) :]
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns(*later))
    return folder


ARC = {"process": {"kind": "trigflow", "noise": "error", "steps": 2}}
CASES = [
    pytest.param("autoencoder", {}, id="autoencoder"),
    pytest.param("alignment", {}, id="alignment"),
    pytest.param("diffusion", {}, id="diffusion"),
    pytest.param("diffusion", {"model": ARC}, id="noise like the errors"),
    pytest.param("autoencoder", {"adversarial_start": 1}, id="GAN active before the cut"),
    pytest.param("autoencoder", {"adversarial_start": 3}, id="GAN joins after the cut"),
    pytest.param("autoencoder", {"adversarial_start": 1, "accumulate": 2}, id="GAN and accumulation"),
    pytest.param("alignment", {"accumulate": 2}, id="accumulation"),
    pytest.param("alignment", {"precision": "bf16-mixed"}, id="bfloat16"),
]


@pytest.mark.parametrize(("name", "changes"), CASES)
def test_two_steps_and_three_more_end_in_the_same_bits_as_five(name, changes, store, earlier, tmp_path):
    config = tiny_config(steps=5, **changes)
    whole, cut = (copy_of(earlier, tmp_path / kind, before=name) for kind in ("whole", "cut"))
    assert run_to(tiny_runner(config, name, store, whole), 5)
    assert not run_to(tiny_runner(config, name, store, cut), 2)
    assert checkpoint(cut, name)["progress"]["step"] == 2
    torch.manual_seed(99)  # a continued run must not lean on the global generator
    assert run_to(tiny_runner(config, name, store, cut), 5)
    assert differences(checkpoint(whole, name), checkpoint(cut, name)) == []
    assert differences(load_state(whole / name / BEST), load_state(cut / name / BEST)) == []


def test_a_coarse_beginning_and_what_refines_it_end_in_the_same_bits_when_cut(store, tmp_path):
    config = changed(tiny_config(steps=4, validate_every=1, model=PYRAMID), {"alignment": {"coarse_share": 0.5}})
    for kind in ("whole", "cut"):
        train(config, store, tmp_path / kind, "autoencoder")
    runner = tiny_runner(config, "alignment", store, tmp_path / "whole")
    weights = runner.stage.condition.refine.to_detail[2].weight
    assert not run_to(runner, 2)
    assert not bool(weights.any())
    assert run_to(tiny_runner(config, "alignment", store, tmp_path / "whole"), 4)
    assert not run_to(tiny_runner(config, "alignment", store, tmp_path / "cut"), 1)
    runner = tiny_runner(config, "alignment", store, tmp_path / "cut")
    assert run_to(runner, 4)
    assert bool(runner.stage.condition.refine.to_detail[2].weight.any())
    assert differences(*(checkpoint(tmp_path / kind, "alignment") for kind in ("whole", "cut"))) == []


def test_the_comparison_of_checkpoints_sees_another_seed(store, tmp_path):
    states = []
    for seed in (0, 1):
        folder = tmp_path / str(seed)
        run_to(tiny_runner(tiny_config(seed=seed), "autoencoder", store, folder), 1)
        states.append(checkpoint(folder, "autoencoder"))
    found = differences(*states)
    for section in ("players", "optimisers", "ema"):
        assert any(path.startswith(f"/{section}/") for path in found)


def test_the_adversary_moves_only_from_its_step_on_and_without_the_generators_gradient(store, tmp_path):
    runner = tiny_runner(tiny_config(adversarial_start=2), "autoencoder", store, tmp_path)
    discriminator = runner.stage.modules["discriminator"]
    first = [p.detach().clone() for p in discriminator.parameters()]
    run_to(runner, 2)
    assert all(torch.equal(a, b) for a, b in zip(first, discriminator.parameters(), strict=True))
    run_to(runner, 3)
    assert not any(torch.equal(a, b) for a, b in zip(first, discriminator.parameters(), strict=True))


def test_while_one_module_moves_the_others_collect_no_gradient_also_where_it_fails(store, tmp_path):
    runner = tiny_runner(tiny_config(adversarial_start=0), "autoencoder", store, tmp_path)
    batch = runner.data.batch(0, 2, xrays=False)
    parameters = list(runner.stage.modules["discriminator"].parameters())

    def moved_and_failed() -> None:
        runner.fabric.backward(runner.modules["autoencoder"](batch, 0)["loss"])
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"), runner._alone("autoencoder"):
        moved_and_failed()
    assert all(p.grad is None for p in parameters)
    assert all(p.requires_grad for p in parameters)


def test_a_checkpoint_with_the_former_names_of_modules_goes_on_to_the_same_bits(store, tmp_path):
    config = tiny_config(steps=4, adversarial_start=1)
    run_to(tiny_runner(config, "autoencoder", store, tmp_path / "new"), 2)
    shutil.copytree(tmp_path / "new", tmp_path / "old")
    path = tmp_path / "old" / "autoencoder" / CHECKPOINT
    state = load_state(path)
    weights = state["players"].pop("discriminator")
    state["players"]["judge"] = {name.replace("discriminator.", "judge.", 1): value for name, value in weights.items()}
    state["optimisers"]["judge"] = state["optimisers"].pop("discriminator")
    save_state(path, state)
    for folder in ("new", "old"):
        assert tiny_runner(config, "autoencoder", store, tmp_path / folder).run()
    assert not differences(*(checkpoint(tmp_path / folder, "autoencoder") for folder in ("new", "old")))


def test_a_loss_that_is_not_finite_stops_and_leaves_the_batch_and_the_checkpoint_before(store, tmp_path):
    config = tiny_config(checkpoint_every=1)
    run_to(tiny_runner(config, "autoencoder", store, tmp_path), 2)
    before = (tmp_path / "autoencoder" / CHECKPOINT).read_bytes()
    runner = tiny_runner(config, "autoencoder", store, tmp_path)
    with torch.no_grad():
        runner.stage.model.autoencoder.decoder.out[-1].bias[0] = torch.nan
    with pytest.raises(NonFiniteLossError, match=r"autoencoder: the loss of autoencoder is nan at step 2"):
        runner.run()
    assert (tmp_path / "autoencoder" / CHECKPOINT).read_bytes() == before
    (saved,) = (tmp_path / "autoencoder").glob("non_finite_step2_rank0.safetensors")
    expected = runner.data.batch(2, config.autoencoder.batch, xrays=False).unit
    assert torch.equal(load_state(saved)["unit"], expected)


def test_the_saved_culprit_holds_the_x_rays_where_a_stage_has_them(store, earlier, tmp_path):
    folder = copy_of(earlier, tmp_path / "run", before="alignment")
    runner = tiny_runner(tiny_config(), "alignment", store, folder)
    with torch.no_grad():
        runner.stage.model.condition.to_estimate[-1].bias[0] = torch.inf
    with pytest.raises(NonFiniteLossError):
        runner.run()
    state = load_state(folder / "alignment" / "non_finite_step0_rank0.safetensors")
    assert torch.equal(state["images"], runner.data.batch(0, 2, xrays=True).images)
    assert state["module"] == "alignment"


def test_a_non_finite_gradient_of_a_finite_loss_stops_the_run_too(store, tmp_path):
    """The weights stay as they were."""
    runner = tiny_runner(tiny_config(steps=1), "autoencoder", store, tmp_path)
    weight = runner.stage.model.autoencoder.decoder.out[-1].weight
    weight.register_hook(lambda gradient: gradient * torch.inf)
    before = weight.detach().clone()
    with pytest.raises(NonFiniteLossError, match=r"the norm of the gradients of autoencoder is (inf|nan) at step 0"):
        runner.run()
    assert torch.equal(weight, before)
    assert (tmp_path / "autoencoder" / "non_finite_step0_rank0.safetensors").exists()


def test_the_log_has_losses_and_validation_scores_by_step(store, tmp_path):
    seen = []
    config = tiny_config(steps=10, validate_every=4)
    fabric = cpu_fabric(config, "autoencoder")
    runner = build_runner(config, STAGES["autoencoder"], store, tmp_path, fabric, seen.append)
    assert runner.run()
    records = [json.loads(line) for line in (tmp_path / "autoencoder" / LOG).read_text().splitlines()]
    assert [record["step"] for record in records] == [4, 8, 10]
    assert all("psnr_round_trip_db" in record for record in records)
    assert "autoencoder/l1" in records[-1]
    assert [record["step"] for record in seen] == list(range(1, 11))


def test_from_the_checkpoint_before_a_damaged_one_a_run_reaches_the_same_bits(store, tmp_path):
    config = tiny_config(steps=9, checkpoint_every=2, validate_every=4, adversarial_start=2)
    run_to(tiny_runner(config, "autoencoder", store, tmp_path / "whole"), 9)
    run_to(tiny_runner(config, "autoencoder", store, tmp_path / "cut"), 7)
    last = tmp_path / "cut" / "autoencoder" / CHECKPOINT
    data = last.read_bytes()
    last.write_bytes(data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
    with pytest.raises(InputError, match=r"goes on from checkpoint\.previous\.safetensors \(step 6\)"):
        tiny_runner(config, "autoencoder", store, tmp_path / "cut")
    last.rename(tmp_path / "damaged")
    runner = tiny_runner(config, "autoencoder", store, tmp_path / "cut")
    assert runner.progress.step == 6
    run_to(runner, 9)
    assert differences(*(checkpoint(tmp_path / kind, "autoencoder") for kind in ("whole", "cut"))) == []
    assert differences(*(load_state(tmp_path / kind / "autoencoder" / BEST) for kind in ("whole", "cut"))) == []


def test_no_step_is_logged_twice_after_a_cut_between_checkpoints(store, tmp_path):
    config = tiny_config(steps=8, checkpoint_every=3, validate_every=1)
    log = tmp_path / "autoencoder" / LOG

    def kill(record):
        if record["step"] == 5:
            raise KeyboardInterrupt

    runner = tiny_runner(config, "autoencoder", store, tmp_path)
    runner.report = kill
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    with log.open("a") as file:
        file.write('{"stage": "autoencoder", "st')  # and the sixth was being written
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()[:-1]] == [1, 2, 3, 4, 5]
    assert run_to(tiny_runner(config, "autoencoder", store, tmp_path), 8)
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == list(range(1, 9))


def test_no_step_is_missing_in_the_log_after_a_cut_while_its_checkpoint_is_saved(store, tmp_path, monkeypatch):
    config = tiny_config(steps=4, validate_every=1, checkpoint_every=2)

    def saved_and_cut(path: Path, state: dict[str, Any]) -> None:
        save_checkpoint(path, state)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "save_checkpoint", saved_and_cut)
    with pytest.raises(KeyboardInterrupt):
        train(config, store, tmp_path, "autoencoder")
    monkeypatch.undo()
    train(config, store, tmp_path, "autoencoder")
    log = tmp_path / "autoencoder" / LOG
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [1, 2, 3, 4]


def test_the_best_weights_are_those_of_the_best_validation_not_of_the_last(store, tmp_path):
    config = tiny_config(steps=6, validate_every=1)
    runner = tiny_runner(config, "autoencoder", store, tmp_path)
    scores = {}
    runner.report = lambda record: scores.update({record["step"]: record["psnr_round_trip_db"]})
    run_to(runner, 3)
    best = load_state(tmp_path / "autoencoder" / BEST)
    with torch.no_grad():
        for value in runner.ema.average.values():
            value.mul_(0.0)  # from here on the averaged model is ruined
    run_to(runner, 4)
    assert scores[4] < max(scores.values())
    assert differences(load_state(tmp_path / "autoencoder" / BEST), best) == []
    assert best["psnr_round_trip_db"] == max(scores.values())


def test_the_learning_rate_warms_up_linearly_and_decays_by_a_half_cosine_to_nearly_zero():
    config = OptimiserConfig(lr=2.0, warmup_steps=4)
    assert learning_rate(config, 0, 100) == pytest.approx(0.5)
    assert learning_rate(config, 1, 100) == pytest.approx(1.0, rel=1e-3)
    assert learning_rate(config, 50, 100) == pytest.approx(1.0)
    assert learning_rate(config, 99, 100) == pytest.approx(0.0, abs=1e-3)
    constant = OptimiserConfig(lr=2.0, warmup_steps=4, decay="constant")
    assert [learning_rate(constant, step, 100) for step in (0, 3, 99)] == [0.5, 2.0, 2.0]


def test_gradients_are_clipped_to_the_configured_norm(store, tmp_path):
    norms = {}
    for clip in (1e-3, 1e3):
        runner = tiny_runner(tiny_config(clip=clip), "autoencoder", store, tmp_path / str(clip))
        optimiser = runner.optimisers["autoencoder"].optimizer
        step = optimiser.step

        def watched(*args: object, clip: float = clip, step=step, optimiser=optimiser, **kwargs: object) -> object:
            grads = [p.grad.flatten() for group in optimiser.param_groups for p in group["params"]]
            norms[clip] = float(torch.cat(grads).norm())
            return step(*args, **kwargs)

        optimiser.step = watched
        run_to(runner, 1)
    assert norms[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert norms[1e3] > 2e-3


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can catch")
def test_sigterm_leaves_a_checkpoint_from_which_the_run_ends_in_the_same_bits(store, tmp_path):
    command = [sys.executable, str(TESTS / "tiny.py"), str(store.folder), str(tmp_path / "cut"), "1000000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "cut" / "autoencoder" / LOG
    deadline = time.monotonic() + 120.0
    while not log.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    reached = checkpoint(tmp_path / "cut", "autoencoder")["progress"]["step"]
    assert reached >= 3
    config = tiny_config(steps=1000000, accumulate=2, adversarial_start=1)
    for kind in ("cut", "whole"):
        run_to(tiny_runner(config, "autoencoder", store, tmp_path / kind), reached + 2)
    states = [checkpoint(tmp_path / kind, "autoencoder") for kind in ("whole", "cut")]
    assert states[0]["progress"]["step"] == reached + 2
    assert differences(*states) == []


def test_signal_handlers_are_put_back_after_a_run():
    before = signal.getsignal(signal.SIGTERM)
    with loop.stop_on_signal() as stopped:
        signal.raise_signal(signal.SIGTERM)
        assert stopped.is_set()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("native", [True, False])
def test_networks_that_a_stage_only_uses_may_run_in_another_precision_than_its_own(
    native: bool, store: Store, earlier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clsdm_trainer.precision.has_fast_bfloat16", lambda device: native)
    config = changed(tiny_config(steps=2), {"diffusion": {"frozen_precision": "bf16-mixed"}})
    runner = tiny_runner(config, "diffusion", store, copy_of(earlier, tmp_path / "run", "diffusion"))
    model, seen = runner.stage.model, {"frozen": set(), "trained": set()}
    for kind, networks in (("frozen", (model.autoencoder, model.condition)), ("trained", (model.denoiser,))):
        for module in (m for network in networks for m in network.modules() if isinstance(m, torch.nn.Conv3d)):
            module.register_forward_hook(lambda _m, _i, out, kind=kind: seen[kind].add(out.dtype))
    run_to(runner, 1)
    assert seen == {"frozen": {torch.bfloat16 if native else torch.float32}, "trained": {torch.float32}}
