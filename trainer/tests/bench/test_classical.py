"""Classical reconstruction: an exact adjoint, known answers with many views, and what each method promises with two."""

import numpy as np
import pytest
import torch

from clsdm.errors import InputError
from clsdm.geometry.view import GeometryPreset
from clsdm.simulate import simulate_xrays
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.hu import MU_WATER_PER_MM, attenuation_to_hu, hu_to_attenuation
from clsdm_bench.systems.classical import System, cgls, classical, fdk, sart, sirt, total_variation, tv

GRID = Grid(24, 8.0)
MACHINE = GeometryPreset("small", 700.0, 1100.0, 400.0, 50)
BALL_MM = 60.0


def ball(grid: Grid = GRID) -> CTVolume:
    """Water in air, a little to the left, so that a flip shows."""
    axis = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    hu = np.where((x - 16) ** 2 + (y + 8) ** 2 + z**2 < BALL_MM**2, 0.0, -1000.0)
    return CTVolume.on_grid(hu, grid)


def system(angles_deg: list[float], ct: CTVolume | None = None) -> System:
    xrays = simulate_xrays(ct or ball(), [MACHINE.view(angle) for angle in angles_deg], (0.0, 0.0, 0.0))
    return System.of(xrays, GRID)


@pytest.fixture(scope="module")
def two_views() -> System:
    return system([0.0, 90.0])


@pytest.fixture(scope="module")
def truth() -> torch.Tensor:
    return hu_to_attenuation(torch.from_numpy(ball().hu))[None, None]


def test_the_adjoint_is_that_of_the_projector(two_views: System) -> None:
    x, y = torch.rand_like(two_views.zeros), torch.rand_like(two_views.lines)
    one, other = (two_views.forward(x) * y).sum(), (x * two_views.adjoint(y)).sum()
    assert float(one) == pytest.approx(float(other), rel=1e-4)


def test_fine_panels_are_averaged_and_keep_their_place_and_size() -> None:
    fine = GeometryPreset("fine", 700.0, 1100.0, 400.0, 200)
    (xray,) = simulate_xrays(ball(), [fine.view(0.0)], (0.0, 0.0, 0.0))
    coarse = System.of([xray], GRID)
    # 8 mm voxels are 12.6 mm on the panel, two pixels of 6.3 mm: 3 does not divide.
    assert coarse.lines.shape[-1] == 200 // 2
    assert float(coarse.cameras.pixel_mm[0, 0, 0]) == pytest.approx(4.0)
    assert float(coarse.lines.mean()) == pytest.approx(float(xray.image.mean()), rel=1e-5)


def test_images_of_two_sizes_are_refused() -> None:
    machines = (MACHINE, GeometryPreset("other", 700.0, 1100.0, 400.0, 46))
    xrays = [simulate_xrays(ball(), [machine.view(0.0)], (0.0, 0.0, 0.0))[0] for machine in machines]
    with pytest.raises(InputError, match="one size"):
        System.of(xrays, GRID)


def test_with_many_views_filtered_back_projection_finds_water_where_it_is(truth: torch.Tensor) -> None:
    found = fdk(system([index * 4.0 for index in range(90)]))  # a whole turn: half of it is redundant ...
    inner = torch.from_numpy(ball().hu)[None, None] > -500.0
    eroded = -torch.nn.functional.max_pool3d(-inner.float(), 5, stride=1, padding=2) > 0.5
    assert float(found[eroded].mean()) == pytest.approx(MU_WATER_PER_MM, rel=0.05)  # ... and its mean is the same
    assert float(torch.corrcoef(torch.stack((found.flatten(), truth.flatten())))[0, 1]) > 0.93


@pytest.mark.parametrize("solve", [sirt, sart, cgls, tv])
def test_with_many_views_every_iterative_method_finds_the_ball(solve, truth: torch.Tensor) -> None:
    found = solve(system([index * 15.0 for index in range(12)]), 20)
    assert float((found - truth).norm() / truth.norm()) < 0.35


@pytest.mark.parametrize("solve", [sirt, sart, cgls, tv])
def test_two_views_are_explained_by_what_is_reconstructed_from_them(solve, two_views: System) -> None:
    residual = two_views.forward(solve(two_views, 20)) - two_views.lines
    assert float(residual.norm() / two_views.lines.norm()) < 0.12


def test_conjugate_gradients_never_move_away_from_the_images(two_views: System) -> None:
    errors = [float((two_views.forward(cgls(two_views, n)) - two_views.lines).norm()) for n in (1, 2, 4, 8)]
    assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("solve", [sirt, sart, tv])
def test_nothing_is_negative_and_nothing_outside_the_hull(solve, two_views: System) -> None:
    found = solve(two_views, 5)
    assert float(found.min()) == 0.0
    assert not found[two_views.hull() == 0.0].any()


def test_the_hull_holds_the_body_and_little_more(two_views: System, truth: torch.Tensor) -> None:
    hull, body = two_views.hull() > 0.0, truth > 0.5 * MU_WATER_PER_MM
    assert bool(hull[body].all())
    assert float(hull.float().mean()) < 2.5 * float(body.float().mean())


def test_total_variation_descent_leaves_less_variation(two_views: System) -> None:
    assert float(total_variation(tv(two_views, 20))) < 0.95 * float(total_variation(sirt(two_views, 20)))


def test_a_step_has_the_variation_of_its_area() -> None:
    volume = torch.zeros(1, 1, 4, 4, 4)
    volume[..., 2:] = 3.0
    assert float(total_variation(volume)) == pytest.approx(48.0, abs=1e-3)  # 16 voxel faces of height 3


def test_a_classical_method_gives_hu_within_the_window_and_the_image_decides(two_views: System) -> None:
    xrays = simulate_xrays(ball(), [MACHINE.view(angle) for angle in (0.0, 90.0)], (0.0, 0.0, 0.0))
    volume = classical("cgls", GRID, xrays)
    assert volume.hu.shape == (24, 24, 24)
    assert -1024.0 <= volume.hu.min() < volume.hu.max() <= 1476.0
    centre = np.argwhere(volume.hu > -300.0).mean(0) - (GRID.size - 1) / 2
    assert centre == pytest.approx([0.0, -1.0, 2.0], abs=0.6)  # (z, y, x) in voxels of 8 mm


def test_attenuation_and_hu_are_inverse() -> None:
    hu = torch.tensor([-1000.0, -300.0, 0.0, 1200.0])
    torch.testing.assert_close(attenuation_to_hu(hu_to_attenuation(hu)), hu, atol=1e-3, rtol=0)
