"""The one HU window and the one attenuation."""

import numpy as np
import pytest
import torch

from clsdm.volume.hu import (
    MU_WATER_PER_MM,
    WINDOW_HU,
    hu_clamped,
    hu_to_attenuation,
    hu_to_unit,
    unit_to_attenuation,
    unit_to_hu,
)


def test_the_window_is_the_2500_hu_of_the_x2ct_protocol():
    assert WINDOW_HU == (-1024.0, 1476.0)
    assert hu_to_unit(np.array([-1024.0, 226.0, 1476.0])).tolist() == pytest.approx([-1.0, 0.0, 1.0])


def test_hu_in_the_window_survive_the_round_trip():
    hu = np.linspace(*WINDOW_HU, 501)
    assert np.abs(unit_to_hu(hu_to_unit(hu)) - hu).max() < 1e-9
    tensor = torch.linspace(*WINDOW_HU, 501)
    torch.testing.assert_close(unit_to_hu(hu_to_unit(tensor)), tensor, atol=1e-3, rtol=0)


def test_arrays_and_tensors_give_the_same():
    hu = np.array([-3000.0, -1000.0, 0.0, 40.0, 1476.0, 3000.0])
    for function in (hu_to_unit, unit_to_hu, hu_clamped, hu_to_attenuation, unit_to_attenuation):
        tensor = function(torch.from_numpy(hu))
        assert isinstance(tensor, torch.Tensor)
        assert tensor.numpy() == pytest.approx(function(hu))


def test_values_outside_the_window_are_limited_on_both_ways():
    assert hu_to_unit(np.array([-5000.0, 9000.0])).tolist() == pytest.approx([-1.0, 1.0])
    assert unit_to_hu(np.array([-1.7, 1.2])).tolist() == pytest.approx(list(WINDOW_HU))
    assert hu_clamped(np.array([-5000.0, 12.0, 9000.0])).tolist() == [-1024.0, 12.0, 1476.0]


def test_every_conversion_is_monotone():
    hu = np.linspace(-1000.0, 1476.0, 300)
    for values in (hu_to_unit(hu), hu_to_attenuation(hu), unit_to_hu(np.linspace(-1, 1, 300))):
        assert (np.diff(values) > 0).all()


def test_air_attenuates_nothing_and_water_like_water():
    assert hu_to_attenuation(np.array([-2000.0, -1000.0])).tolist() == pytest.approx([0.0, 0.0])
    assert hu_to_attenuation(np.array([0.0, 1000.0])).tolist() == pytest.approx([MU_WATER_PER_MM, 2 * MU_WATER_PER_MM])
    assert abs(MU_WATER_PER_MM - 0.0206) < 1e-4  # 60 keV, NIST XCOM


def test_attenuation_of_the_unit_range_is_that_of_its_hu():
    hu = torch.tensor([-1000.0, -700.0, 0.0, 60.0, 1200.0])
    torch.testing.assert_close(unit_to_attenuation(hu_to_unit(hu)), hu_to_attenuation(hu), atol=1e-7, rtol=1e-5)
