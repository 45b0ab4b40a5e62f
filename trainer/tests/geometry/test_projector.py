"""The projector against closed forms, its own adjoint, and the point projection of the geometry."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from clsdm.geometry import projector
from clsdm.geometry.cameras import Cameras, voxel_centres
from clsdm.geometry.projector import project
from clsdm.geometry.view import View

SIZE, SPACING_MM = 64, 5.0
VIEWS = {
    "x2ct frontal": View(0.0, 541.0, 949.0, 48, 48, (9.0, 9.0)),
    "x2ct lateral": View(90.0, 541.0, 949.0, 48, 48, (9.0, 9.0)),
    "oblique": View(37.0, 700.0, 1100.0, 40, 48, (8.0, 7.0)),
    "tilted from the right": View(-100.0, 700.0, 1100.0, 48, 40, (7.0, 8.0), tilt_deg=20.0),
    "offset panel from the front": View(180.0, 1000.0, 1536.0, 48, 48, (7.0, 7.0), offset_mm=(30.0, -45.0)),
    "frontal localizer": View(180.0, 570.0, 1040.0, 64, 52, (5.0, 11.0), beam="fan"),
    "lateral localizer, off the middle": View(
        90.0, 541.0, 949.0, 100, 48, (4.0, 10.0), offset_mm=(25.0, -20.0), beam="fan"
    ),
}
VIEW_CASES = pytest.mark.parametrize("view", list(VIEWS.values()), ids=list(VIEWS))


def rays(view: View) -> tuple[Tensor, Tensor]:
    """Source (rows, 1, 3) and unit directions (rows, cols, 3), in double precision."""
    cameras = Cameras.from_views([[view]])
    source = cameras.sources()[0, 0].double()
    towards = cameras.pixel_centres()[0, 0].double() - source
    return source, towards / towards.norm(dim=-1, keepdim=True)


def gaussian_integrals(view: View, centre: Tensor, sigma: Tensor) -> Tensor:
    """Line integrals of exp(-|(x - centre) / sigma|² / 2), by completing the square along each ray."""
    source, direction = rays(view)
    p, d = (source - centre) / sigma, direction / sigma
    a, b, c = d.square().sum(-1), (p * d).sum(-1), p.square().sum(-1)
    return (2 * torch.pi / a).sqrt() * (-0.5 * (c - b.square() / a)).exp()


def ellipsoid_chords(view: View, centre: Tensor, semi_axes: Tensor) -> Tensor:
    """Length of each ray inside an ellipsoid."""
    source, direction = rays(view)
    p, d = (source - centre) / semi_axes, direction / semi_axes
    a, b, c = d.square().sum(-1), (p * d).sum(-1), p.square().sum(-1) - 1.0
    return 2.0 * (b.square() - a * c).clamp_min(0.0).sqrt() / a


@pytest.fixture(scope="module")
def ellipsoid() -> tuple[Tensor, Tensor, Tensor]:
    """Centre, semi-axes, and (1, 1, n, n, n) share of each voxel inside (partial volume by 3³ points a voxel)."""
    centre, semi_axes = torch.tensor([-20.0, 15.0, -25.0]), torch.tensor([80.0, 55.0, 95.0])
    squared = ((voxel_centres(SIZE * 3, SPACING_MM / 3) - centre) / semi_axes).square().sum(-1)
    return centre, semi_axes, torch.nn.functional.avg_pool3d((squared < 1.0).float()[None, None], 3)


def relative_error(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).norm() / exact.norm())


def gaussian_error(view: View, spacing_mm: float) -> float:
    """Relative error of a blob off the centre along every axis, of unequal width, on a 320 mm cube."""
    centre, sigma = torch.tensor([25.0, -30.0, 20.0]), torch.tensor([26.0, 22.0, 30.0])
    centres = voxel_centres(round(320.0 / spacing_mm), spacing_mm)
    volume = (-0.5 * ((centres - centre) / sigma).square().sum(-1)).exp()
    image = project(volume[None, None], spacing_mm, Cameras.from_views([[view]]))[0, 0]
    return relative_error(image, gaussian_integrals(view, centre, sigma))


@VIEW_CASES
def test_gaussians_at_2_5_mm_are_integrated_to_about_a_tenth_of_a_percent(view):
    """This blob gives .08 to .12 %, all of it from linear interpolation."""
    assert gaussian_error(view, 2.5) < 1.3e-3


def test_the_error_falls_with_the_square_of_the_voxel_size():
    coarse, fine = (gaussian_error(VIEWS["tilted from the right"], spacing) for spacing in (5.0, 2.5))
    assert 3.5 < coarse / fine < 4.5


@VIEW_CASES
def test_ellipsoids_keep_their_mass_and_their_chords(view, ellipsoid):
    """Every chord together to .1 %, chords longer than 60 mm to 1 % on average; L2 3.5 %: edges blur over 5 mm voxels."""
    centre, semi_axes, volume = ellipsoid
    image = project(volume, SPACING_MM, Cameras.from_views([[view]]))[0, 0].double()
    exact = ellipsoid_chords(view, centre, semi_axes)
    assert float(image.sum()) == pytest.approx(float(exact.sum()), rel=1e-3)
    deep = exact > 60.0
    assert float((image / exact)[deep].mean()) == pytest.approx(1.0, abs=0.01)
    assert relative_error(image, exact) < 0.035


@VIEW_CASES
def test_a_small_ball_is_drawn_where_the_geometry_projects_its_centre(view):
    centre = torch.tensor([35.0, -40.0, 30.0])
    volume = (-0.5 * ((voxel_centres(SIZE, SPACING_MM) - centre) / 8.0).square().sum(-1)).exp()
    cameras = Cameras.from_views([[view]])
    image = project(volume[None, None], SPACING_MM, cameras)[0, 0]
    total = image.sum()
    row, col = torch.arange(view.rows) - (view.rows - 1) / 2, torch.arange(view.cols) - (view.cols - 1) / 2
    drawn = torch.stack(((image * col).sum() / total, (image * row[:, None]).sum() / total))
    expected = cameras.project(centre[None])[0][0, 0, 0] * torch.tensor([(view.cols - 1) / 2, (view.rows - 1) / 2])
    torch.testing.assert_close(drawn, expected, atol=0.05, rtol=0)  # pixels


def two_by_two() -> Cameras:
    """Two samples of two views each, small images."""
    small = [replace(view, rows=12, cols=14, pixel_mm=(20.0, 18.0)) for view in VIEWS.values()]
    return Cameras.from_views([[small[0], small[3]], [small[2], small[4]]])


def test_back_projection_by_autograd_is_the_adjoint():
    x = torch.randn(2, 1, 10, 12, 14, requires_grad=True)
    image = project(x, 20.0, two_by_two())
    y = torch.randn_like(image)
    (adjoint,) = torch.autograd.grad(image, x, y)
    forward, backward = (image.detach().double() * y).sum(), (x.detach().double() * adjoint).sum()
    assert float(forward) == pytest.approx(float(backward), rel=1e-4)


def test_projection_is_linear():
    x, y, cameras = torch.randn(2, 1, 8, 8, 8), torch.randn(2, 1, 8, 8, 8), two_by_two()
    combined = project(2.0 * x - 3.0 * y, 25.0, cameras)
    torch.testing.assert_close(
        combined, 2.0 * project(x, 25.0, cameras) - 3.0 * project(y, 25.0, cameras), atol=2e-3, rtol=0
    )


def test_the_gradient_of_a_residual_is_that_of_finite_differences():
    """Along one random direction; the residual is quadratic, so the central difference is exact but for rounding."""
    cameras = two_by_two()
    x, step = torch.rand(2, 1, 8, 8, 8), torch.randn(2, 1, 8, 8, 8)
    target = project(torch.rand(2, 1, 8, 8, 8), 25.0, cameras)

    def residual(volume: Tensor) -> Tensor:
        return (project(volume, 25.0, cameras) - target).double().square().mean()

    (gradient,) = torch.autograd.grad(residual(x.requires_grad_()), x)
    difference = (residual(x.detach() + 0.1 * step) - residual(x.detach() - 0.1 * step)) / 0.2
    assert float((gradient.double() * step).sum()) == pytest.approx(float(difference), rel=1e-3)


def test_batch_and_views_are_not_mixed():
    cameras, x = two_by_two(), torch.rand(2, 1, 8, 8, 8)
    together = project(x, 25.0, cameras)
    small = [replace(view, rows=12, cols=14, pixel_mm=(20.0, 18.0)) for view in VIEWS.values()]
    alone = project(x[1:], 25.0, Cameras.from_views([[small[4]]]))
    torch.testing.assert_close(together[1, 1], alone[0, 0])


def test_a_ray_through_a_uniform_slab_is_its_oblique_length():
    volume = torch.zeros(1, 1, 24, 24, 24)
    volume[0, 0, :, 8:16] = 0.02  # 8 planes of 10 mm across y
    view = View(0.0, 700.0, 1100.0, 9, 9, (12.0, 12.0))
    image = project(volume, 10.0, Cameras.from_views([[view]]))[0, 0].double()
    exact = 0.02 * 80.0 / rays(view)[1][..., 1].abs()
    torch.testing.assert_close(image, exact, rtol=1e-5, atol=0)


def test_marching_in_pieces_changes_nothing(monkeypatch):
    x, cameras = torch.rand(2, 1, 9, 9, 9), two_by_two()
    whole = project(x, 25.0, cameras)
    monkeypatch.setattr(projector, "_AT_ONCE", {"cpu": 400})  # two planes at a time
    torch.testing.assert_close(project(x, 25.0, cameras), whole, rtol=1e-5, atol=1e-4)


def test_a_view_along_the_patients_long_axis_is_refused():
    cameras = Cameras.from_views([[View(0.0, 541.0, 949.0, 8, 8, (5.0, 5.0))]])
    along_z = replace(cameras, source=torch.tensor([[[0.0, 0.0, 541.0]]]), centre=torch.tensor([[[0.0, 0.0, -408.0]]]))
    with pytest.raises(ValueError, match="long axis"):
        project(torch.zeros(1, 1, 8, 8, 8), 5.0, along_z)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8, 8), (1, 2, 8, 8, 8), (1, 8, 8, 8)])
def test_a_volume_of_another_shape_is_refused(shape):
    cameras = Cameras.from_views([[VIEWS["oblique"]]])
    with pytest.raises(ValueError, match=r"expected a volume of shape \(1, 1, z, y, x\)"):
        project(torch.zeros(shape), 5.0, cameras)
