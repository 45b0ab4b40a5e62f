import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from clsdm.quality import lungs
from clsdm.volume import body, masks


def blobs(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    noise = sitk.GetImageFromArray(np.random.default_rng(seed).normal(size=shape))
    return sitk.GetArrayFromImage(sitk.DiscreteGaussian(noise, 2.0)) > 0.0


def by_itk(name: str, mask: np.ndarray, *more: object) -> np.ndarray:
    return sitk.GetArrayFromImage(getattr(sitk, name)(sitk.GetImageFromArray(mask.astype(np.uint8)), *more)).astype(
        bool
    )


@pytest.mark.parametrize("radii", [(1, 1), (2, 3), (4, 4), (1, 1, 1), (0, 2, 2), (2, 1, 3)])
@pytest.mark.parametrize("name", ["grown", "shrunk", "opened", "closed"])
def test_a_mask_is_changed_as_itk_changes_it(name: str, radii: tuple[int, ...]):
    itk = {"grown": "BinaryDilate", "shrunk": "BinaryErode", "opened": "BinaryMorphologicalOpening",
           "closed": "BinaryMorphologicalClosing"}  # fmt: skip
    for mask in (blobs((17, 23, 30)[: len(radii)]), np.random.default_rng(1).random((9, 14, 12)[: len(radii)]) > 0.1):
        wanted = by_itk(itk[name], mask, radii[::-1])
        np.testing.assert_array_equal(getattr(masks, name)(mask, masks.ball(*radii)), wanted)


def test_the_largest_part_and_what_reaches_the_edge_are_those_of_itk():
    mask = blobs((20, 30, 25))
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8))))
    np.testing.assert_array_equal(masks.largest(mask), sitk.GetArrayFromImage(parts) == 1)
    assert not masks.largest(np.zeros((4, 5, 6), dtype=bool)).any()
    sheet = body.below_each_other(mask)
    np.testing.assert_array_equal(~masks.touching_the_edge(~sheet), by_itk("BinaryFillhole", sheet))


def test_a_lung_is_closed_by_the_distances_of_a_distance_map():
    mask = blobs((20, 30, 25))
    dilated = lungs.inside_mm(np.pad(mask, 4), 3.0) > -7.0 - 1e-3
    filled = lungs.inside_mm(dilated, 3.0) > 7.0 - 1e-3
    np.testing.assert_array_equal(lungs.closed(mask, 7.0, 3.0), mask | filled[4:-4, 4:-4, 4:-4])
    np.testing.assert_array_equal(lungs.inside_mm(mask, 3.0) > 0.0, lungs.shrunk(mask, (1.75,) * 3))


def test_a_box_holds_the_mask_and_no_more():
    mask = np.zeros((5, 6, 7), dtype=bool)
    assert masks.box_of(mask) == (slice(0, 5), slice(0, 6), slice(0, 7))  # ITK ends the process where an image is empty
    mask[1:3, 2, 4:6] = True
    assert masks.box_of(mask) == (slice(1, 3), slice(2, 3), slice(4, 6))
    assert masks.box_of(mask, 2) == (slice(0, 5), slice(0, 5), slice(2, 7))
