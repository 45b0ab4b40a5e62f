"""How long a training takes is estimated from a few steps of each kind."""

import time

import pytest
from tiny import PYRAMID, cpu_fabric, tiny_config

from clsdm_bench.measures.speed import forecast, kinds_of_steps, untrained_runner
from clsdm_trainer.loop import CHECKPOINT
from clsdm_trainer.recipe import changed
from clsdm_trainer.stages import STAGES


@pytest.mark.parametrize(
    ("name", "changes", "extended"),
    [("autoencoder", {"adversarial_start": 7}, 3), ("alignment", {"project_every": 4}, 3)],
)
def test_a_forecast_counts_each_kind_of_step_with_its_own_time(name, changes, extended, store, tmp_path, monkeypatch):
    config = changed(tiny_config(steps=10), {name: changes})
    runner = untrained_runner(config, STAGES[name], store, tmp_path, cpu_fabric(config, name))
    now, seen = [0.0], []

    def step(number: int) -> None:
        """The first of each kind takes long, then 5 and 1 s with one disturbed step."""
        of_kind = [other for other in seen if runner.stage.extended(other) == runner.stage.extended(number)]
        usual = 5.0 if runner.stage.extended(number) else 1.0
        now[0] += {0: 100.0, 2: 3.0 * usual}.get(len(of_kind), usual)
        seen.append(number)

    monkeypatch.setattr(runner, "step", step)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    assert forecast(runner, 3) == pytest.approx(5.0 * extended + 1.0 * (10 - extended))
    assert len(seen) == 2 * 4
    assert not (tmp_path / name / CHECKPOINT).exists()


def test_coarse_steps_are_a_kind_of_their_own(store, tmp_path):
    config = changed(tiny_config(steps=8, model=PYRAMID), {"alignment": {"coarse_share": 0.5, "project_every": 4}})
    runner = untrained_runner(config, STAGES["alignment"], store, tmp_path, cpu_fabric(config, "alignment"))
    kinds = {(2, True): [0], (2, False): [1, 2, 3], (1, True): [4], (1, False): [5, 6, 7]}
    assert kinds_of_steps(runner) == kinds


@pytest.mark.parametrize(
    ("name", "changes", "more"),
    [
        ("autoencoder", {"adversarial_start": 2}, "discriminator/loss"),
        ("alignment", {"project_every": 2}, "alignment/consistency"),
    ],
)
def test_the_steps_that_take_longer_are_those_that_do_more(name, changes, more, store, tmp_path):
    config = changed(tiny_config(), {name: changes})
    runner = untrained_runner(config, STAGES[name], store, tmp_path, cpu_fabric(config, name))
    extended = [runner.stage.extended(step) for step in range(4)]
    assert sorted(extended) == [False, False, True, True]
    assert [more in runner.step(step) for step in range(4)] == extended
