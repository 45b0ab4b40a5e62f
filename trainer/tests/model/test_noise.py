"""Noise like the errors of an estimate: its scale and its spectrum are those that were measured."""

import pytest
import torch

from clsdm.model.noise import SCALES, ErrorStatistics, frequencies, like_errors, scale_of

SIZE = 32
EVERYWHERE = torch.ones(4, 1, SIZE, SIZE, SIZE)


def fields(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Estimates with every value of the unit range, and smooth errors that are three times as large in its upper half."""
    unit = torch.linspace(-1.0, 1.0, SIZE)[None, None, :, None, None].expand(count, 1, SIZE, SIZE, SIZE)
    radii = torch.arange(frequencies(SIZE)).float()
    spectrum = torch.exp(-radii / 4.0)
    white = torch.randn(count, 1, SIZE, SIZE, SIZE)
    scale = torch.where(torch.linspace(-1.0, 1.0, SCALES) < 0.0, 0.1, 0.3)
    return unit, like_errors(white, unit, scale, spectrum)


def measured(unit: torch.Tensor, error: torch.Tensor, known: torch.Tensor) -> ErrorStatistics:
    statistics = ErrorStatistics(SIZE)
    statistics.add_scale(unit, error, known)
    statistics.add_spectrum(unit, error, known)
    return statistics


def test_the_scale_lies_between_those_that_are_known_and_ends_with_the_unit_range():
    scale = torch.arange(SCALES).float()
    assert scale_of(torch.tensor([-5.0, -1.0, 0.0, 1.0, 5.0]), scale).tolist() == [0.0, 0.0, 16.0, 32.0, 32.0]
    step = 2.0 / (SCALES - 1)
    assert float(scale_of(torch.tensor(-1.0 + 2.25 * step), scale)) == pytest.approx(2.25, abs=1e-4)


def test_a_flat_spectrum_leaves_white_noise_as_it_is():
    white, unit = torch.randn(2, 1, SIZE, SIZE, SIZE), torch.zeros(2, 1, SIZE, SIZE, SIZE)
    same = like_errors(white, unit, torch.full((SCALES,), 0.5), torch.ones(frequencies(SIZE)))
    torch.testing.assert_close(same, 0.5 * white)


def test_noise_has_the_scale_and_the_spectrum_of_the_errors_it_was_measured_on():
    unit, error = fields()
    first = measured(unit, error, EVERYWHERE)
    ratio = error[:, :, SIZE // 2 + 2 :].std() / error[:, :, : SIZE // 2 - 2].std()
    assert float(first.scale[-4:].mean() / first.scale[:4].mean()) == pytest.approx(float(ratio), rel=0.15)
    again = like_errors(torch.randn(16, 1, SIZE, SIZE, SIZE), unit[:1], first.scale, first.spectrum)
    assert float(again.std()) == pytest.approx(float(error.std()), rel=0.1)
    second = measured(unit[:1].expand(16, -1, -1, -1, -1), again, EVERYWHERE[:1].expand(16, -1, -1, -1, -1))
    for low in (1, 3, 6, 10):  # bands of frequencies: a single radius holds few
        a, b = (float(each.spectrum[low : low + 3].mean()) for each in (first, second))
        assert b == pytest.approx(a, rel=0.25)
    assert float(first.spectrum[1:4].mean() / first.spectrum[12:16].mean()) > 8.0


@pytest.mark.parametrize("size", [32, 15])
def test_noise_is_as_large_as_errors_of_which_two_x_rays_fix_a_part(size):
    """A frontal and a lateral X-ray fix a plane of frequencies each; the half of a spectrum that is computed holds one whole."""
    unit, white = torch.zeros(2, 1, size, size, size), torch.randn(2, 1, size, size, size)
    smooth = like_errors(white, unit, torch.ones(SCALES), torch.exp(-torch.arange(frequencies(size)).float()))
    open_to_errors = torch.fft.rfftn(smooth, dim=(2, 3, 4))
    open_to_errors[..., 0] = open_to_errors[:, :, :, 0] = 0.0
    error = torch.fft.irfftn(open_to_errors, s=unit.shape[2:], dim=(2, 3, 4))
    statistics = ErrorStatistics(size)
    statistics.add_scale(unit, error, torch.ones_like(unit))
    statistics.add_spectrum(unit, error, torch.ones_like(unit))
    impulse = torch.zeros_like(unit[:1])
    impulse[..., 0, 0, 0] = 1.0
    answer = like_errors(impulse, unit[:1], statistics.scale, statistics.spectrum)
    assert float(answer.square().sum()) == pytest.approx(float(error.square().mean()), rel=1e-3)


def test_a_patient_of_whom_nothing_is_known_spoils_no_spectrum():
    unit, error = fields()
    known = EVERYWHERE.clone()
    known[0] = 0.0
    alone = measured(unit[1:], error[1:], known[1:])
    torch.testing.assert_close(measured(unit, error, known).spectrum, alone.spectrum)
    assert bool(alone.spectrum.max() > 0.0)


def test_what_was_not_scanned_says_nothing():
    unit, error = fields()
    known = EVERYWHERE.clone()
    known[..., : SIZE // 4] = 0.0
    wrong = torch.where(known > 0.0, error, 7.0)
    torch.testing.assert_close(measured(unit, wrong, known).scale, measured(unit, error, known).scale)
    torch.testing.assert_close(measured(unit, wrong, known).spectrum, measured(unit, error, known).spectrum)


def test_values_that_never_occurred_have_the_error_of_the_nearest_that_did():
    unit = torch.full((1, 1, SIZE, SIZE, SIZE), -0.5)
    statistics = ErrorStatistics(SIZE)
    statistics.add_scale(unit, torch.full_like(unit, 0.2), torch.ones_like(unit))
    torch.testing.assert_close(statistics.scale, torch.full((SCALES,), 0.2))
