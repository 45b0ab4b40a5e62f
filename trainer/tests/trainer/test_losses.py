"""Losses with known answers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from tiny import GRID, phantom_hu

from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import Detector, preset
from clsdm.volume.hu import hu_to_unit, unit_to_attenuation
from clsdm.xray.preprocess import expose
from clsdm_trainer.losses import info_nce, known_mean, local_and_global_contrast, projection_consistency, psnr_db

TEMPERATURE = 0.1


def pairs_with_cosine(cosine: float, count: int, width: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Unit vectors: row i of one has exactly this cosine with row i of the other and zero with all others."""
    eye = torch.eye(width)
    a = eye[:count]
    return a, cosine * a + math.sqrt(1.0 - cosine**2) * eye[count : 2 * count]


def test_the_contrast_of_orthogonal_pairs_has_its_closed_form():
    for cosine in (0.0, 0.03, 0.5, 1.0):
        for count in (2, 8):
            positive = math.exp(cosine / TEMPERATURE)
            expected = -math.log(positive / (positive + count - 1))
            assert float(info_nce(*pairs_with_cosine(cosine, count), TEMPERATURE)) == pytest.approx(
                expected, rel=1e-4, abs=1e-6
            )


def test_the_contrast_agrees_with_cross_entropy_in_both_directions():
    a, b = torch.randn(5, 7), torch.randn(5, 7)
    logits = torch.tensor(
        [[float(F.cosine_similarity(x, y, dim=0)) / TEMPERATURE for y in b] for x in a], dtype=torch.float64
    )
    rows, columns = logits.log_softmax(1).diagonal(), logits.log_softmax(0).diagonal()
    assert float(info_nce(a, b, TEMPERATURE)) == pytest.approx(float(-(rows.mean() + columns.mean()) / 2), rel=1e-5)


@pytest.mark.parametrize("count", [0, 1])
def test_a_contrast_without_negatives_is_refused(count):
    vectors, volumes = torch.randn(count, 4), torch.randn(count, 4, 2, 2, 2)
    with pytest.raises(ValueError, match=f"at least 2 pairs, got {count}"):
        info_nce(vectors, vectors, TEMPERATURE)
    with pytest.raises(ValueError, match=f"at least 2 pairs, got {count}"):
        local_and_global_contrast(volumes, volumes, torch.arange(8 * count), TEMPERATURE)


def test_the_local_contrast_tells_voxels_of_one_volume_apart():
    """Both volumes of the batch are the same on average, so only position-wise alignment can lower the loss."""
    ct = torch.randn(2, 8, 2, 2, 2)
    turned = ct.flip(2)  # same content, wrong places, same mean
    positions = torch.arange(8)
    right, wrong = (local_and_global_contrast(x, ct, positions, TEMPERATURE) for x in (ct, turned))
    assert float(wrong) > float(right) + 2.0


def test_only_the_given_positions_take_part_in_the_local_contrast():
    ct, xray = torch.randn(2, 8, 2, 2, 2), torch.randn(2, 8, 2, 2, 2)
    xray = xray.requires_grad_()
    local = info_nce(
        *[x.flatten(2)[:, :, torch.tensor([1, 6])].transpose(1, 2).flatten(0, 1) for x in (xray, ct)], TEMPERATURE
    )
    whole = info_nce(xray.flatten(2).mean(2), ct.flatten(2).mean(2), TEMPERATURE)
    both = local_and_global_contrast(xray, ct, torch.tensor([1, 6]), TEMPERATURE)
    assert float(both.detach()) == pytest.approx(float((local + whole).detach()), rel=1e-6)


def test_losses_are_computed_in_float32_under_bfloat16_autocast():
    a, b = torch.randn(6, 32), torch.randn(6, 32)
    plain = info_nce(a, b, TEMPERATURE)
    unit = cube()
    images, cameras = exposed(unit, 0.0)
    shifted = unit.roll(1, -1)
    consistency = projection_consistency(shifted, unit, images[:, :, 1], cameras, GRID.spacing_mm)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ b.T).dtype == torch.bfloat16  # autocast is on
        mixed, mixed_consistency = (
            info_nce(a, b, TEMPERATURE),
            projection_consistency(shifted, unit, images[:, :, 1], cameras, GRID.spacing_mm),
        )
    assert mixed.dtype == mixed_consistency.dtype == torch.float32
    assert torch.equal(mixed, plain)
    assert torch.equal(mixed_consistency, consistency)


def cube() -> torch.Tensor:
    """(1, 1, n, n, n) asymmetric phantom in the unit range."""
    return hu_to_unit(torch.from_numpy(phantom_hu(np.random.default_rng(0), GRID)).float())[None, None]


def exposed(unit: torch.Tensor, *angles_deg: float) -> tuple[torch.Tensor, Cameras]:
    """X-rays (1, V, 2, s, s) of a cube, and their cameras."""
    views = [[preset("chest").view(angle) for angle in angles_deg]]
    return expose(unit_to_attenuation(unit), GRID.spacing_mm, views, Detector(32, 480.0))


def test_projection_consistency_is_zero_for_the_truth_and_positive_otherwise():
    unit = cube()
    images, cameras = exposed(unit, 0.0, 90.0)
    assert float(projection_consistency(unit, unit, images[:, :, 1], cameras, GRID.spacing_mm)) < 1e-12
    for wrong in (unit.flip(-1), unit.roll(1, 2), unit.transpose(2, 3)):
        assert float(projection_consistency(wrong, unit, images[:, :, 1], cameras, GRID.spacing_mm)) > 1e-3


def test_projection_consistency_counts_measured_pixels_only():
    unit = cube()
    images, cameras = exposed(unit, 0.0)
    nowhere, half = torch.zeros_like(images[:, :, 1]), images[:, :, 1].clone()
    half[..., :16] = 0.0
    assert float(projection_consistency(unit.flip(-1), unit, nowhere, cameras, GRID.spacing_mm)) == 0.0
    wrong = unit.clone()
    wrong[..., 10:] = -1.0  # to the patient's left: the right half of the image
    left_half = images[:, :, 1] - half
    errors = [float(projection_consistency(wrong, unit, mask, cameras, GRID.spacing_mm)) for mask in (half, left_half)]
    assert errors[0] > 10 * errors[1]


def test_projection_consistency_pulls_the_estimate_towards_the_truth():
    unit = cube()
    images, cameras = exposed(unit, 0.0)
    estimate = (unit + 0.1 * torch.randn_like(unit)).requires_grad_()
    loss = projection_consistency(estimate, unit, images[:, :, 1], cameras, GRID.spacing_mm)
    loss.backward()
    step = estimate.detach() - 1e-2 * estimate.grad / estimate.grad.norm()
    assert float(projection_consistency(step, unit, images[:, :, 1], cameras, GRID.spacing_mm)) < float(loss.detach())


def test_psnr_has_a_data_range_of_two_which_is_2500_hu():
    truth = torch.zeros(2, 1, 4, 4, 4)
    estimate = truth.clone()
    estimate[0] += 2.0 * 25.0 / 2500.0  # 25 HU everywhere
    estimate[1] += 5.0  # clamped to 1
    known = torch.ones_like(truth)
    assert psnr_db(estimate, truth, known).tolist() == pytest.approx([40.0, 10.0 * math.log10(4.0)], rel=1e-5)


def test_voxels_that_were_never_scanned_count_in_no_figure():
    truth, known = torch.zeros(1, 1, 4, 4, 4), torch.ones(1, 1, 4, 4, 4)
    estimate = truth + 0.02
    known[:, :, 3] = 0.0
    estimate[:, :, 3] = 1.0
    assert float(psnr_db(estimate, truth, known)) == pytest.approx(40.0)
    assert float(known_mean(estimate - truth, known)) == pytest.approx(0.02)
    assert float(known_mean(estimate, torch.zeros_like(known))) == 0.0
