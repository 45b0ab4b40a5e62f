"""The average of weights: by hand, in float32, and really what is validated and kept."""

import pytest
import torch
from tiny import run_to, tiny_config, tiny_runner
from torch import nn

from clsdm_trainer.checkpoint import load_state
from clsdm_trainer.ema import Ema
from clsdm_trainer.loop import BEST, Runner
from clsdm_trainer.losses import psnr_db


def scalar(value: float) -> nn.Linear:
    module = nn.Linear(1, 1, bias=False)
    nn.init.constant_(module.weight, value)
    return module


def test_two_steps_average_as_by_hand():
    module = scalar(0.0)
    ema = Ema(module, 0.999)
    for step, value in enumerate((1.0, 3.0)):
        nn.init.constant_(module.weight, value)
        ema.update(step)
    # decays 1/10 and 2/11: 0 -> 0.9 * 1 -> 2/11 * 0.9 + 9/11 * 3
    assert float(ema.average["weight"]) == pytest.approx(2 / 11 * 0.9 + 9 / 11 * 3.0, rel=1e-6)


def test_after_the_ramp_the_configured_decay_holds():
    module = scalar(0.0)
    ema = Ema(module, 0.9)
    nn.init.constant_(module.weight, 1.0)
    ema.update(10_000)
    assert float(ema.average["weight"]) == pytest.approx(0.1, rel=1e-5)


def test_the_average_is_float32_even_of_bfloat16_weights_and_moves_by_less_than_they_can():
    module = scalar(1.0).bfloat16()
    ema = Ema(module, 0.9999)
    with torch.no_grad():
        module.weight.fill_(1.0 + 2.0**-7)  # the next bfloat16
    ema.update(10**6)
    assert ema.average["weight"].dtype == torch.float32
    assert float(ema.average["weight"]) == pytest.approx(1.0 + 1e-4 * 2.0**-7, rel=1e-7)
    assert float(ema.average["weight"]) > 1.0


def test_the_module_has_the_average_inside_and_its_own_weights_afterwards():
    module = scalar(0.0)
    ema = Ema(module, 0.5)
    nn.init.constant_(module.weight, 4.0)
    ema.update(100)
    with ema.applied():
        assert float(module.weight.detach()) == 2.0
    assert float(module.weight.detach()) == 4.0
    with pytest.raises(KeyError), ema.applied():
        raise KeyError
    assert float(module.weight.detach()) == 4.0


def validated(runner: Runner) -> float:
    """The selecting score of the weights that the stage has now."""
    scores = [psnr_db(next(iter(runner.stage.estimate(b).values())), b.unit, b.known) for b in runner.validation]
    return float(torch.cat(scores).mean())


def test_validation_judges_the_average_and_best_holds_it(store, tmp_path):
    config = tiny_config(steps=4, validate_every=4, ema=0.9, optimiser={"lr": 3e-2, "warmup_steps": 1})
    runner = tiny_runner(config, "autoencoder", store, tmp_path)
    assert run_to(runner, 4)
    best = load_state(tmp_path / "autoencoder" / BEST)
    raw = runner.kept.state_dict()
    with torch.no_grad():
        raw_score = validated(runner)
        runner.kept.load_state_dict(best["weights"])
        averaged_score = validated(runner)
    assert best["psnr_round_trip_db"] == pytest.approx(averaged_score, abs=1e-4)
    assert abs(averaged_score - raw_score) > 1e-2
    assert all(value.dtype == torch.float32 for value in best["weights"].values())
    assert best["weights"].keys() == raw.keys()
