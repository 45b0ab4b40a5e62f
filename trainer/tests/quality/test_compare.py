"""Comparisons of an asymmetric phantom, where every answer is known beforehand."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from one_line import refusal

from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.projector import project
from clsdm.geometry.view import Detector, preset
from clsdm.quality.compare import compare
from clsdm.quality.place import NO_PLACE
from clsdm.quality.reprojection import default_detector, reprojection
from clsdm.quality.write import as_json, write_comparison
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.cube import to_cube
from clsdm.volume.hu import hu_to_attenuation
from clsdm.xray.preprocess import XRay

GRID = Grid(24, 8.0)
FINE = Grid(48, 4.0)
CENTRE_MM = (30.0, -20.0, 400.0)


def phantom(grid: Grid = GRID, centre_mm: tuple[float, float, float] = CENTRE_MM) -> CTVolume:
    """A water cylinder with a bone to the left, in front and above: no two orientations look alike."""
    axis = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing_mm
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    hu = np.where((x / 70) ** 2 + (y / 55) ** 2 < 1, 20.0, -1000.0)
    hu[((x - 35) ** 2 + (y + 20) ** 2 + (z - 40) ** 2) < 20**2] = 900.0
    return replace(CTVolume.on_grid(hu, grid, centre_mm), source="phantom")


def xrays_of(ct: CTVolume, gain: float = 1.0, offset: float = 0.0) -> list[XRay]:
    """Frontal and lateral chest X-rays of a cube."""
    views = [preset("chest").view(angle, 108) for angle in (0.0, 90.0)]
    attenuation = hu_to_attenuation(torch.from_numpy(ct.hu))[None, None]
    images = project(attenuation, ct.spacing_mm[0], Cameras.from_views([views]))[0].numpy()
    return [XRay(gain * image + offset, view) for image, view in zip(images, views, strict=True)]


def test_the_box_average_of_the_truth_scores_without_error() -> None:
    truth = phantom(FINE)
    scores = compare(to_cube(truth, GRID, CENTRE_MM), truth).scores
    assert scores.honest["mae_hu"] == pytest.approx(0.0, abs=1e-3)
    assert scores.overlap_fraction == 1.0
    assert scores.honest["protocol"] == "honest"
    assert scores.x2ct["protocol"] == "x2ct"


def test_volumes_are_matched_by_patient_coordinates_and_not_by_index() -> None:
    recon = phantom()
    shift = np.array([16.0, 0.0, 0.0])
    moved = replace(recon, origin_mm=tuple(np.array(recon.origin_mm) + shift))
    rolled = replace(recon, hu=np.roll(recon.hu, 2, axis=2))  # two voxels of 8 mm to the left
    assert compare(recon, moved).scores.honest["mae_hu"] > 20.0
    assert compare(rolled, moved).scores.honest["mae_body_hu"] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SLP"])
def test_the_orientation_in_which_a_file_is_stored_does_not_change_the_figures(orientation: str) -> None:
    truth, recon = phantom(FINE), replace(phantom(), hu=phantom().hu + 50.0)
    turned = [
        CTVolume.from_sitk(sitk.DICOMOrient(volume.to_sitk(), orientation), "turned") for volume in (recon, truth)
    ]
    expected, found = compare(recon, truth).scores, compare(*turned).scores
    assert found.honest == pytest.approx(expected.honest)
    assert found.x2ct == pytest.approx(expected.x2ct)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_reconstruction_scores_worse(axis: int) -> None:
    truth = phantom()
    mirrored = replace(truth, hu=np.flip(truth.hu, axis).copy())
    assert compare(mirrored, truth).scores.honest["mae_hu"] > 5.0


def test_what_the_scan_does_not_cover_is_left_out_of_the_body_figures_only() -> None:
    recon = phantom()
    top_half = replace(recon, hu=recon.hu[12:], origin_mm=(*recon.origin_mm[:2], recon.origin_mm[2] + 12 * 8.0))
    result = compare(recon, top_half)
    assert result.scores.overlap_fraction == pytest.approx(0.5)
    assert not result.scores.body[:12].any()
    assert result.scores.honest["mae_body_hu"] == pytest.approx(0.0, abs=1e-3)
    assert result.scores.honest["mae_hu"] > 50.0
    assert "50.0%" in result.warnings[0]


def test_a_voxel_that_is_only_partly_inside_the_scan_is_not_seen() -> None:
    recon = phantom()
    fine = phantom(FINE)
    cut = replace(fine, hu=fine.hu[25:], origin_mm=(*fine.origin_mm[:2], fine.origin_mm[2] + 25 * 4.0))
    seen = compare(recon, cut).scores.seen  # the cut lies in the middle of slice 12
    assert not seen[:13].any()
    assert seen[13:].all()


def test_volumes_that_do_not_overlap_are_refused_in_one_line_that_names_both() -> None:
    said = refusal(compare, replace(phantom(centre_mm=(900.0, 0.0, 0.0)), source="recon"), phantom())
    assert re.match(r"recon: does not overlap phantom; .*\(30, -20, 400\)", said)


def shifted(ct: CTVolume, x_mm: float, z_mm: float) -> CTVolume:
    x, y, z = ct.origin_mm
    return replace(ct, origin_mm=(x + x_mm, y, z + z_mm), source="other")


def test_a_ct_that_hardly_lies_where_the_reconstruction_lies_is_refused() -> None:
    said = refusal(compare, replace(phantom(), source="recon"), shifted(phantom(), 150.0, 140.0))
    assert said.startswith(
        "other: does not lie where recon lies: of the smaller one 6.1% is in both (centres at (180, -20, 540)"
    )


def test_a_narrow_ct_is_compared_and_asked_about_first_where_it_lies_mostly_elsewhere() -> None:
    recon = phantom()
    result = compare(recon, shifted(recon, 0.0, -128.0).noted("a note"))
    assert result.scores.overlap_fraction == pytest.approx(1 / 3)
    assert result.warnings[0].startswith("Only 33% of the smaller one of reconstruction and CT lies in both.")
    thin = replace(recon, hu=recon.hu[10:13], origin_mm=(*recon.origin_mm[:2], recon.origin_mm[2] + 80.0))
    assert compare(recon, thin).warnings[0].startswith("The true scan covers 12.5%")
    large = CTVolume.on_grid(np.full((40,) * 3, -1000.0), Grid(40, 20.0), CENTRE_MM)
    assert not any("Only" in text for text in compare(recon, large).warnings)


def test_a_reconstruction_on_another_grid_is_compared_by_interpolation() -> None:
    truth = phantom(FINE)
    box = replace(truth, hu=truth.hu[4:40:2, 4:44], spacing_mm=(4.0, 4.0, 8.0))
    box = replace(box, origin_mm=(truth.origin_mm[0], truth.origin_mm[1] + 16.0, truth.origin_mm[2] + 16.0))
    result = compare(box, truth)
    assert result.scores.truth.hu.shape == box.hu.shape
    assert result.scores.honest["mae_hu"] == pytest.approx(0.0, abs=1e-3)


def test_the_truth_is_not_changed_and_the_body_is_that_of_the_truth() -> None:
    truth = phantom()
    before = truth.hu.copy()
    empty = replace(truth, hu=np.full_like(truth.hu, -1000.0))
    scores = compare(empty, truth).scores
    np.testing.assert_array_equal(truth.hu, before)
    assert scores.honest["body_fraction"] > 0.3
    assert scores.honest["mae_body_hu"] > 1000.0


def test_the_true_volume_reprojects_onto_its_own_x_rays_whatever_their_exposure() -> None:
    truth = phantom()
    for item in reprojection(truth, xrays_of(truth, gain=37.0, offset=-5.0)):
        assert item.correlation > 0.999
        assert item.agreement.contrast_fraction < 0.01


@pytest.mark.parametrize(("axis", "seen_by"), [(2, 0), (1, 1), (0, 0), (0, 1)])
def test_a_mirrored_volume_shows_in_the_view_that_can_see_it(axis: int, seen_by: int) -> None:
    truth = phantom()
    mirrored = replace(truth, hu=np.flip(truth.hu, axis).copy())
    assert reprojection(mirrored, xrays_of(truth))[seen_by].agreement.contrast_fraction > 0.04


def test_what_lies_beyond_the_reconstructed_cube_does_not_count_in_the_residual() -> None:
    whole = phantom(Grid(48, 8.0), (0.0, 0.0, 0.0))
    whole.hu[:10] = 1400.0  # a dense slab far below the cube
    inner = replace(CTVolume.on_grid(whole.hu[12:36, 12:36, 12:36], GRID), source="inner")
    frontal, _ = reprojection(inner, xrays_of(whole))
    assert np.isnan(frontal.difference).any()
    assert frontal.correlation > 0.99


def test_pixels_without_measurement_are_not_compared() -> None:
    truth = phantom()
    frontal = xrays_of(truth)[0]
    valid = np.ones(frontal.image.shape, bool)
    valid[:, :54] = False
    spoiled = replace(frontal, image=np.where(valid, frontal.image, 99.0), valid=valid)
    (item,) = reprojection(truth, [spoiled])
    assert not np.isfinite(item.difference[:, :60]).any()
    assert item.correlation > 0.99


def test_a_reconstruction_of_air_has_no_correlation() -> None:
    truth = phantom()
    air = replace(truth, hu=np.full_like(truth.hu, -1000.0))
    assert reprojection(air, xrays_of(truth))[0].correlation is None


def test_only_a_cube_can_be_projected_and_only_what_holds_the_window_compared() -> None:
    truth = phantom()
    with pytest.raises(InputError, match=r"expected a cube of cubic voxels along LPS.*\(24, 24, 20\)"):
        compare(replace(truth, hu=truth.hu[:20]), None, xrays_of(truth))
    with pytest.raises(InputError, match="at least 12 voxels"):
        compare(replace(truth, hu=truth.hu[:5]), truth)


def test_the_detector_is_a_quarter_wider_than_the_cube_with_pixels_of_its_voxels() -> None:
    assert default_detector(GRID).field_mm == pytest.approx(1.25 * 192.0)
    assert default_detector(GRID).size == 128
    assert default_detector(Grid(128, 3.0)) == Detector(160, 480.0)


def test_a_volume_of_x_rays_that_tell_no_place_is_not_compared_with_a_ct_without_a_word() -> None:
    truth, elsewhere = phantom(centre_mm=(0.0, 0.0, 0.0)), phantom()
    xrays = xrays_of(truth)
    nowhere = [replace(xray, isocentre_mm=None) for xray in xrays]
    placed = [replace(xray, isocentre_mm=truth.centre_mm) for xray in xrays]
    asked = ((truth, nowhere, True), (truth, placed, False), (elsewhere, nowhere, False), (truth, (), False))
    for recon, views, told in asked:
        assert (NO_PLACE in compare(recon, recon, views).warnings) == told
    assert NO_PLACE not in compare(truth, None, nowhere).warnings


def test_the_record_tells_whether_there_is_a_place_where_the_x_rays_are_not_at_hand() -> None:
    truth = phantom(centre_mm=(0.0, 0.0, 0.0))
    asked = (({"isocentre_lps_mm": None}, True), ({"isocentre_lps_mm": [0.0, 0.0, 0.0]}, False), ({}, False))
    for provenance, told in asked:
        assert (NO_PLACE in compare(truth, truth, provenance=provenance).warnings) == told


def test_the_written_figures_are_versioned_json_even_for_identical_volumes(tmp_path: Path) -> None:
    truth = phantom()
    result = compare(truth, truth, xrays_of(truth))
    paths = write_comparison(result, tmp_path / "new", {"seed": 0})
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)
    content = json.loads(paths[0].read_text())
    assert content == json.loads(json.dumps(as_json(result, {"seed": 0})))
    assert (content["schema"], content["schema_version"]) == ("clsdm-comparison", 1)
    assert content["protocols"]["honest"]["psnr_3d_db"] is None
    assert content["protocols"]["x2ct"]["peak_hu"] == 4095.0
    assert [item["angle_deg"] for item in content["reprojection"]] == [0.0, 90.0]
    assert content["provenance"] == {"seed": 0}
