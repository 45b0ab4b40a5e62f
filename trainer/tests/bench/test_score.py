"""A bundle scored on scan files of any spacing, the way a user goes."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ct_series import write_series
from small_bundle import small_phantom
from tiny_systems import rows_of

from clsdm.errors import InputError
from clsdm.geometry.view import PRESETS
from clsdm.model.bundle import Bundle, patient_mark
from clsdm.simulate import simulate_xrays
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.read import read_ct
from clsdm.volume.write import write_ct
from clsdm.xray.read import read_xray
from clsdm_bench.cli import main
from clsdm_bench.measures.covered import figures_of, lung_figures, paired
from clsdm_bench.score import Settings, score_bundle
from clsdm_bench.score.cases import find_scans
from clsdm_bench.score.exposures import as_radiographs
from clsdm_trainer.figures import figures_table, read_results

CENTRES = {"one": (12.0, -30.0, 250.0), "two": (0.0, 5.0, -40.0)}


def chest(centre_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float]) -> CTVolume:
    """A body of 240 x 160 x 260 mm with two lungs, the right one larger, on any voxels."""
    size = [round(336.0 / step) for step in spacing_mm]
    axes = [(np.arange(count) - (count - 1) / 2) * step for count, step in zip(size, spacing_mm, strict=True)]
    z, y, x = np.meshgrid(axes[2], axes[1], axes[0], indexing="ij")
    hu = np.where((x / 120) ** 2 + (y / 80) ** 2 + (z / 130) ** 2 < 1, 40.0, -1000.0)
    for left, wide in ((-55.0, 40.0), (55.0, 30.0)):
        hu[((x - left) / wide) ** 2 + (y / 40) ** 2 + (z / 80) ** 2 < 1] = -850.0
    first = [centre - (count - 1) / 2 * step for centre, count, step in zip(centre_mm, size, spacing_mm, strict=True)]
    return CTVolume(hu.astype(np.float32), spacing_mm, tuple(first))


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chests of different spacings in a folder whose splits name both and leave a third one to training."""
    folder = tmp_path_factory.mktemp("chests")
    write_ct(chest(CENTRES["one"], (6.0, 6.0, 4.0)), folder / "one.nii.gz")
    write_ct(chest(CENTRES["two"], (4.0, 8.0, 6.0)), folder / "two.nrrd")
    write_ct(chest(CENTRES["two"], (8.0, 8.0, 8.0)), folder / "three.nii.gz")
    table = {"test": ["one", "two"], "train": ["three"]}
    (folder / "splits.json").write_text(json.dumps(table), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def scored(small_model: Bundle, scans: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished scoring."""
    out = tmp_path_factory.mktemp("score") / "out"
    arguments = ["score", "--bundle", str(small_model.path), "--cases", str(scans), "--out", str(out)]
    assert main([*arguments, "--device", "cpu", "--samples", "2", "--spacing", "6"]) == 0
    return out


def test_every_case_has_a_line_for_each_product_and_each_condition_and_a_picture(scored: Path, scans: Path) -> None:
    rows = rows_of(scored)
    wanted = {("plain", "mean"), ("plain", "sample"), ("plain", "ensemble")}
    wanted |= {(name, "mean") for name in ("photons", "radiograph", "frontal", "wrong-angle", "shuffled")}
    for case in ("one", "two"):
        assert {(row["condition"], row["product"]) for row in rows if row["case"] == case} == wanted
        assert (scored / "pictures" / f"{case}.png").stat().st_size > 10_000
    assert {row["group"] for row in rows} == {scans.name}
    assert all(np.isfinite(float(row["psnr_db"])) and float(row["lung_true_ml"]) > 500.0 for row in rows)
    page = (scored / "table.md").read_text(encoding="utf-8")
    assert f"| {scans.name} (2): mean, lateral off by 5° |" in page
    mean = [float(row["psnr_db"]) for row in rows if (row["condition"], row["product"]) == ("plain", "mean")]
    assert f"| {scans.name} (2): mean | {np.mean(mean):.2f} [{min(mean):.2f}, {max(mean):.2f}]" in page
    results = read_results(scored / "results.json")
    assert results["methods"][f"{scans.name} (2): mean"]["psnr_db"]["mean"] == pytest.approx(np.mean(mean))
    assert sum("detail_hu" in row for row in results["methods"].values()) == 3, "of each product as it is"
    assert figures_table(results) in page


def test_conditions_differ_and_every_one_goes_through_files(scored: Path) -> None:
    figures = {(row["case"], row["condition"]): row["psnr_db"] for row in rows_of(scored) if row["product"] == "mean"}
    assert len(set(figures.values())) == 12, "two cases, six conditions, none like another"
    kinds = {path.parent.name: len(list(path.parent.glob("*.dcm"))) for path in scored.glob("xrays/one/*/*.dcm")}
    assert kinds == {"plain": 2, "photons": 2, "radiograph": 2, "wrong-angle": 1}
    record = json.loads((scored / "cases" / "one" / "wrong-angle_mean.json").read_text(encoding="utf-8"))
    assert [view["angle_deg"] for view in record["provenance"]["views"]] == [0.0, 90.0]
    assert read_xray(scored / "xrays" / "one" / "wrong-angle" / "view_95.dcm").view.angle_deg == 95.0


def test_a_second_call_makes_nothing_again_and_publishes_the_same_figures(scored, scans, small_model, tmp_path, capsys):
    made = {path: path.stat().st_mtime_ns for path in scored.rglob("*") if path.suffix in (".dcm", ".gz")}
    before = rows_of(scored)
    base = ["score", "--bundle", str(small_model.path), "--cases", str(scans), "--out", str(scored), "--device", "cpu"]
    page = tmp_path / "numbers.md"
    page.write_text(
        "a `<!-- score-short:begin -->`\n<!-- score-short:begin -->\nold\n<!-- score-short:end -->\nb\n",
        encoding="utf-8",
    )
    assert main([*base, "--samples", "2", "--spacing", "6", "--publish", str(page)]) == 0
    assert rows_of(scored) == before
    a, mark, head, _, *rows, end, b = page.read_text(encoding="utf-8").splitlines()
    assert (a, mark, end, b) == (
        "a `<!-- score-short:begin -->`",
        "<!-- score-short:begin -->",
        "<!-- score-short:end -->",
        "b",
    )
    assert head == "| method | PSNR dB | PSNR body dB | lung Dice | lung volume, absolute error % | MAE HU |"
    assert [row.split(" | ")[0] for row in rows] == [
        "| mean",
        "| sample",
        "| mean, frontal alone",
        "| mean, of the next case",
    ]
    assert f" {np.mean([float(row['psnr_db']) for row in before if row['product'] == 'sample']):.2f} [" in rows[1]
    assert {path: path.stat().st_mtime_ns for path in made} == made
    assert main([*base, "--samples", "3", "--spacing", "6"]) == 2
    assert "expected another folder" in capsys.readouterr().err


def test_a_sample_of_more_steps_is_another_volume_in_another_folder(
    small_model: Bundle, scans: Path, scored: Path, tmp_path: Path
) -> None:
    base = ["score", "--bundle", str(small_model.path), "--cases", str(scans / "one.nii.gz"), "--device", "cpu"]
    how = ["--products", "sample", "--conditions", "plain", "--steps", "7"]
    wanted = [*base, "--samples", "2", "--spacing", "6", *how]
    assert main([*wanted, "--out", str(tmp_path / "seven")]) == 0
    made = [read_ct(folder / "cases" / "one" / "plain_sample.nii.gz").hu for folder in (scored, tmp_path / "seven")]
    assert np.abs(made[0] - made[1]).max() > 1.0
    assert "--steps 7" in (tmp_path / "seven" / "table.md").read_text(encoding="utf-8")
    assert main([*wanted, "--out", str(scored)]) == 2


def test_a_perfect_volume_on_coarse_voxels_has_perfect_lungs_and_air_outside_the_scan_does_not_count() -> None:
    scan = chest((3.0, -7.0, 11.0), (3.0, 3.0, 3.0))
    perfect = replace(
        scan, hu=np.pad(scan.hu, 8, constant_values=900.0), origin_mm=tuple(np.array(scan.origin_mm) - 24.0)
    )
    pair = paired(perfect, scan, 3.0)
    assert pair.covered.sum() == scan.hu.size
    assert np.abs(pair.recon.hu - pair.truth.hu)[pair.covered].max() < 1e-3
    figures = figures_of(pair)
    assert figures["lung_dice"] == 1.0
    assert figures["lung_error"] == 0.0
    ellipsoids = 4 / 3 * np.pi * 40 * 80 * (40 + 30) / 1000.0
    assert figures["lung_true_ml"] == pytest.approx(ellipsoids, rel=0.01)


def test_an_offset_of_100_hu_is_27_96_db_on_any_voxels() -> None:
    scan = chest((0.0, 0.0, 0.0), (4.0, 6.0, 5.0))
    for spacing_mm in (3.0, 6.0):
        truth = paired(CTVolume.on_grid(np.zeros((48,) * 3), Grid(48, 6.0)), scan, spacing_mm).truth
        figures = figures_of(paired(replace(truth, hu=truth.hu + 100.0), scan, spacing_mm))
        assert figures["psnr_db"] == pytest.approx(20 * np.log10(25.0))
        assert figures["psnr_body_db"] == pytest.approx(20 * np.log10(25.0))
        assert figures["mae_hu"] == pytest.approx(100.0)


def test_lungs_of_half_the_size_have_a_dice_of_two_thirds() -> None:
    body = np.ones((20, 20, 20), bool)
    truth, recon = np.zeros(body.shape), np.zeros(body.shape)
    truth[5:15] = recon[5:10] = -800.0
    figures = lung_figures(recon, truth, body, 6.0)
    assert figures["lung_dice"] == pytest.approx(2 / 3)
    assert (figures["lung_error"], figures["lung_absolute_error"]) == (pytest.approx(-0.5), pytest.approx(0.5))
    assert lung_figures(recon, np.zeros(body.shape), body, 6.0)["lung_dice"] is None


def test_a_case_that_the_model_has_seen_is_named(scans: Path, small_model: Bundle, tmp_path: Path) -> None:
    found = find_scans([str(scans)], ["test"], [patient_mark("two")])
    assert [(scan.name, scan.seen) for scan in found] == [("one", False), ("two", True)]
    settings = Settings(("mean",), ("plain", "shuffled"), spacing_mm=24.0, device="cpu")
    score_bundle(small_model, found[1:], tmp_path / "out", settings)
    table = (tmp_path / "out" / "table.md").read_text(encoding="utf-8")
    assert "Seen by the model in training or selection: two." in table
    assert "--products mean --conditions plain`" in table  # of one case there is no next one
    assert "of the next case" not in table
    assert "[" not in table.partition("|---")[2]  # and no interval


def test_a_dicom_series_is_a_case_and_two_of_one_name_are_refused(scans: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "patient" / "series", small_phantom())
    (scan,) = find_scans([str(tmp_path / "patient" / "series")])
    assert (scan.name, scan.group) == ("series", "series")
    with pytest.raises(InputError, match="two scans are called 'one'"):
        find_scans([str(scans), f"{scans}/one.nii.gz"])
    with pytest.raises(InputError, match=r"no case of split val"):
        find_scans([str(scans)], ["val"])
    (tmp_path / "splits.json").write_text('{"test": ["gone"]}', encoding="utf-8")
    write_ct(small_phantom(), tmp_path / "there.nii.gz")
    with pytest.raises(InputError, match="no file of 'gone'"):
        find_scans([str(tmp_path)])
    with pytest.raises(InputError, match="nothing of that name"):
        find_scans([str(tmp_path / "nowhere")])


def test_places_of_one_group_are_averaged_together_and_splits_apart(scans, tmp_path, monkeypatch):
    write_ct(small_phantom(), tmp_path / "own" / "four.nii.gz")
    places = [f"chest={scans}", f"chest={tmp_path / 'own' / 'four.nii.gz'}"]
    assert {scan.group for scan in find_scans(places)} == {"chest"}
    apart = [(scan.name, scan.group) for scan in find_scans(places, ["train", "test"])]
    assert sorted(apart) == [
        ("four", "chest, test"),
        ("one", "chest, test"),
        ("three", "chest, train"),
        ("two", "chest, test"),
    ]
    monkeypatch.chdir(tmp_path / "own")
    assert find_scans(["four.nii.gz"])[0].group == "own"


def test_radiograph_like_changes_depend_on_the_seed_alone_and_leave_the_geometry() -> None:
    ct = small_phantom()
    xrays = simulate_xrays(ct, [PRESETS["chest"].view(angle) for angle in (0.0, 90.0)], (0.0, 0.0, 0.0))
    first, again, other = (as_radiographs(xrays, "chest", seed) for seed in (1, 1, 2))
    for a, b, c, before in zip(first, again, other, xrays, strict=True):
        assert np.array_equal(a.image, b.image)
        assert not np.array_equal(a.image, c.image)
        assert a.view.angle_deg == before.view.angle_deg
        assert a.view.cols * a.view.pixel_mm[1] == pytest.approx(before.view.cols * before.view.pixel_mm[1])


def test_an_unknown_condition_is_refused_by_name(scans, tmp_path, capsys):
    arguments = ["score", "--cases", str(scans), "--out", str(tmp_path), "--conditions", "plain", "foggy"]
    assert main(arguments) == 2
    assert "got 'foggy'" in capsys.readouterr().err
