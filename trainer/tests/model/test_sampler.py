"""Schedules and samplers against a Gaussian, where velocity, noise and flow are known in closed form."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from clsdm.model.sampler import sample_dpmpp_2m, sample_flow
from clsdm.model.schedule import DiffusionSchedule, FlowSchedule, ProcessConfig, TrigSchedule, make_schedule

MEAN = torch.tensor([0.8, -1.5])[:, None]  # two data distributions N(m, s²) side by side
STD = torch.tensor([0.6, 1.4])[:, None]
SOURCE_NOISE = 0.5
DIFFUSION = DiffusionSchedule()


def velocity(x: Tensor, t: Tensor) -> Tensor:
    """E[data - noise | x_t] for x_t = (1 - t) s0 n + t z with z ~ N(m, s²): what a perfect network predicts."""
    t = t[:, None, None]
    variance = ((1 - t) * SOURCE_NOISE).square() + (t * STD).square()
    return MEAN + (t * STD.square() - (1 - t) * SOURCE_NOISE**2) / variance * (x - t * MEAN)


def flow_map(start: Tensor) -> Tensor:
    """Where that velocity carries a state from t = 0 to 1: the standardised position is kept."""
    return MEAN + STD / SOURCE_NOISE * start


def noise_of(x: Tensor, t: Tensor) -> Tensor:
    """E[noise | x_t] of the diffusion of N(m, s²)."""
    alpha = DIFFUSION.alphas_cumprod().double()[DIFFUSION.index(t)][:, None, None]
    return (1 - alpha).sqrt() * (x - alpha.sqrt() * MEAN) / (alpha * STD.square() + 1 - alpha)


def diffusion_map(start: Tensor, first: int, last: int) -> Tensor:
    """Where the probability-flow ODE carries a state between two discrete steps: the standardised position is kept."""
    alpha = DIFFUSION.alphas_cumprod().double()
    scale = (alpha * STD.square() + 1 - alpha).sqrt()
    return alpha[last].sqrt() * MEAN + scale[:, last, None] / scale[:, first, None] * (
        start - alpha[first].sqrt() * MEAN
    )


def data_of(x: Tensor, step: int) -> Tensor:
    """E[data | x_t]."""
    alpha = DIFFUSION.alphas_cumprod().double()[step]
    shrink = alpha.sqrt() * STD.square() / (alpha * STD.square() + 1 - alpha)
    return MEAN + shrink * (x - alpha.sqrt() * MEAN)


def many(count: int = 5000) -> Tensor:
    """(B, 2, 1) unit Gaussian noise in double precision."""
    return torch.randn(count, 2, 1, dtype=torch.float64)


def assert_gaussian(samples: Tensor, relative: float) -> None:
    for channel in range(2):
        mean, std = float(MEAN[channel]), float(STD[channel])
        assert float(samples[:, channel].mean()) == pytest.approx(mean, abs=0.05 * std)
        assert float(samples[:, channel].std()) == pytest.approx(std, rel=relative)


def order(errors: list[float]) -> list[float]:
    """Measured orders of convergence where each error belongs to a third of the step of the one before."""
    return [float(torch.tensor(a / b).log() / torch.tensor(3.0).log()) for a, b in pairwise(errors)]


def test_the_flow_draws_the_data_distribution():
    assert_gaussian(sample_flow(velocity, SOURCE_NOISE * many(), 100), relative=0.04)


def test_the_flow_converges_with_first_order():
    start = SOURCE_NOISE * many(64)
    errors = [float((sample_flow(velocity, start, steps) - flow_map(start)).abs().mean()) for steps in (30, 90, 270)]
    assert order(errors) == pytest.approx([1.0, 1.0], abs=0.1)


def test_a_straight_flow_needs_one_step():
    """Data as wide as the source moves along straight lines: one Euler step is exact, and it is taken at t = 0."""
    start = torch.randn(5, 2, 1)
    moved = sample_flow(lambda x, t: torch.full_like(x, 3.0) + t[:, None, None], start, 1)
    torch.testing.assert_close(moved, start + 3.0)


def arc_velocity(x: Tensor, t: Tensor) -> Tensor:
    """The same for x_t = cos(a) s0 n + sin(a) z: E[cos(a) z - sin(a) s0 n | x_t]."""
    a = (TrigSchedule.length * t)[:, None, None]
    variance = (a.cos() * SOURCE_NOISE).square() + (a.sin() * STD).square()
    slope = a.sin() * a.cos() * (STD.square() - SOURCE_NOISE**2) / variance
    return a.cos() * MEAN + slope * (x - a.sin() * MEAN)


def test_the_arc_draws_the_data_distribution_and_converges_with_first_order():
    start = SOURCE_NOISE * many(5000)
    assert_gaussian(sample_flow(arc_velocity, start, 400, length=TrigSchedule.length), relative=0.04)
    errors = [
        float((sample_flow(arc_velocity, start, n, length=TrigSchedule.length) - flow_map(start)).abs().mean())
        for n in (30, 90, 270)
    ]
    assert order(errors) == pytest.approx([1.0, 1.0], abs=0.1)


def test_dpmpp_draws_the_data_distribution_in_50_steps():
    """The last data prediction, made at step 19, is narrower than the data by up to 4 %."""
    assert_gaussian(sample_dpmpp_2m(noise_of, DIFFUSION, many(), 50), relative=0.05)


def dpmpp_error(start: Tensor, steps: int) -> float:
    """Of the state that the sampler reaches at discrete step 270, against the exact ODE solution there."""
    states = {}

    def recorded(x: Tensor, t: Tensor) -> Tensor:
        states[round(float(t[0]) * 1000)] = x
        return noise_of(x, t)

    sample_dpmpp_2m(recorded, DIFFUSION, start, steps)
    return float((states[270] - diffusion_map(start, 999, 270)).abs().mean())


def first_order_error(start: Tensor, steps: int) -> float:
    """The same for DDIM, which is DPM-Solver++ without memory."""
    alpha, x = DIFFUSION.alphas_cumprod().double(), start
    indices = range(999, 269, -999 // steps)
    for now, then in pairwise(indices):
        data = data_of(x, now)
        noise = (x - alpha[now].sqrt() * data) / (1 - alpha[now]).sqrt()
        x = alpha[then].sqrt() * data + (1 - alpha[then]).sqrt() * noise
    return float((x - diffusion_map(start, 999, 270)).abs().mean())


def test_dpmpp_2m_converges_with_second_order_and_ddim_with_first():
    start = many(64)
    second = [dpmpp_error(start, steps) for steps in (37, 111, 333)]
    first = [first_order_error(start, steps) for steps in (37, 111, 333)]
    assert order(second) == pytest.approx([2.0, 2.0], abs=0.3)
    assert order(first) == pytest.approx([1.0, 1.0], abs=0.1)
    assert second[0] < 0.2 * first[0]


@pytest.mark.parametrize("steps", [1, 2, 999, 1000])
def test_dpmpp_takes_any_number_of_steps_that_the_diffusion_has(steps):
    times = []

    def recorded(x: Tensor, t: Tensor) -> Tensor:
        times.append(round(float(t[0]) * 1000))
        return noise_of(x, t)

    sample = sample_dpmpp_2m(recorded, DIFFUSION, many(8), steps)
    assert bool(sample.isfinite().all())
    assert times[0] == 999
    assert sorted(set(times), reverse=True) == times
    assert len(times) == steps


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_an_impossible_number_of_steps_is_refused(steps):
    with pytest.raises(ValueError, match=rf"1 \.\.\. 1000 steps, got {steps}"):
        sample_dpmpp_2m(noise_of, DIFFUSION, many(2), steps)
    if steps < 1:
        with pytest.raises(ValueError, match=f"at least 1 step, got {steps}"):
            sample_flow(velocity, many(2), steps)


def test_every_step_is_one_evaluation_and_one_tick():
    for sampler in (
        lambda f, tick: sample_flow(f, many(2), 5, tick),
        lambda f, tick: sample_dpmpp_2m(f, DIFFUSION, many(2), 5, tick),
    ):
        calls, ticks = [], []

        def counted(x: Tensor, t: Tensor, calls: list[int] = calls) -> Tensor:
            calls.append(len(t))
            return torch.zeros_like(x)

        sampler(counted, lambda done, total, ticks=ticks: ticks.append((done, total)))
        assert calls == [2] * 5
        assert ticks == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_the_flow_mixes_noise_into_the_residual_and_points_from_one_to_the_other():
    schedule = FlowSchedule()
    latents, mean, noise = (torch.randn(3, 2, 4, 4, 4) for _ in range(3))
    t = torch.tensor([0.0, 0.25, 1.0])
    x, target = schedule.mix(latents, mean, noise, t)
    torch.testing.assert_close(x[0], noise[0])
    torch.testing.assert_close(x[2], (latents - mean)[2])
    remaining = (1.0 - t)[:, None, None, None, None]
    torch.testing.assert_close(x + remaining * target, latents - mean)  # straight on to the data
    assert torch.equal(schedule.mix(latents, mean, noise, t)[0], x)


def test_the_arc_keeps_the_variance_and_points_along_itself():
    schedule = TrigSchedule()
    latents, mean, noise = (torch.randn(3, 2, 16, 16, 16) for _ in range(3))
    mean = 0.0 * mean
    t = torch.tensor([0.0, 0.3, 1.0])
    x, target = schedule.mix(latents, mean, noise, t)
    torch.testing.assert_close(x[0], noise[0])
    torch.testing.assert_close(x[2], latents[2])
    assert x.std(dim=(1, 2, 3, 4)).tolist() == pytest.approx([1.0] * 3, abs=0.05)
    assert float((x[1] * target[1]).mean()) == pytest.approx(0.0, abs=0.05)  # nothing of it can be told from x alone
    rest = ((1.0 - t) * schedule.length)[:, None, None, None, None]
    torch.testing.assert_close(rest.cos() * x + rest.sin() * target, latents - mean)  # along the arc to the data


def test_the_diffusion_keeps_unit_variance_and_its_published_ends():
    alpha = DIFFUSION.alphas_cumprod().double()
    assert float(1 - alpha[0]) == pytest.approx(0.0015, rel=1e-4)
    assert float(1 - alpha[999] / alpha[998]) == pytest.approx(0.0155, rel=1e-3)
    assert float(alpha[999]) < 2e-3  # nearly nothing of the data is left
    x, target = DIFFUSION.mix(
        torch.randn(2, 1, 40, 40), torch.zeros(1), torch.randn(2, 1, 40, 40), torch.tensor([0.3, 0.9])
    )
    assert x.std(dim=(1, 2, 3)).tolist() == pytest.approx([1.0, 1.0], abs=0.06)
    assert target.std().item() == pytest.approx(1.0, abs=0.05)


def test_the_noise_target_recovers_the_latents():
    latents, noise, t = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4), torch.tensor([0.1, 0.5])
    x, target = DIFFUSION.mix(latents, torch.zeros(1), noise, t)
    alpha = DIFFUSION.alphas_cumprod()[[100, 500]][:, None, None, None]
    torch.testing.assert_close((x - (1 - alpha).sqrt() * target) / alpha.sqrt(), latents, rtol=1e-4, atol=1e-5)


def test_time_is_rounded_down_to_a_step_and_never_leaves_the_diffusion():
    assert DIFFUSION.index(torch.tensor([0.0, 0.4999, 0.5, 0.9999, 1.0])).tolist() == [0, 499, 500, 999, 999]


def test_a_process_names_its_schedule():
    assert make_schedule(ProcessConfig("flow")) == FlowSchedule()
    assert make_schedule(ProcessConfig("trigflow")) == TrigSchedule()
    assert make_schedule(ProcessConfig("ddpm")) == DIFFUSION
