"""What is written names its own files, nobody else's, and never takes the place of what is read."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from small_bundle import reconstruct_command, small_phantom

import clsdm
from clsdm.app.cli import main
from clsdm.app.record import companions, make_record, read_record, record_text, recorded_views
from clsdm.errors import InputError
from clsdm.files.digest import MOST_LOOKED_AT, find, is_mark, mark_of, sha256_of
from clsdm.quality.numbers import recorded
from clsdm.quality.place import NO_PLACE
from clsdm.quality.quantities import DEFINITION
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct
from clsdm.volume.write import write_ct


@pytest.fixture
def patient(films, tmp_path) -> Path:
    """A folder with a patient's name, and films with it too."""
    folder = tmp_path / "DOE^JANE 1970"
    folder.mkdir()
    for name in ("frontal", "lateral"):
        shutil.copy(films / f"{name}.dcm", folder / f"{name}.dcm")
    shutil.copy(films / "ct.nii.gz", folder / "ct.nii.gz")
    return folder


def test_neither_the_record_nor_the_figures_name_a_path(patient, small_model, tmp_path, capfd):
    out = tmp_path / "r.nii.gz"
    assert main(reconstruct_command(patient, small_model, out, "--quiet")) == 0
    assert main(["compare", str(out), str(patient / "ct.nii.gz"), "--out", str(tmp_path / "cmp")]) == 0
    assert len(json.loads((tmp_path / "cmp" / "metrics.json").read_text())["reprojection"]) == 2
    for written in (tmp_path / "r.json", *(tmp_path / "cmp").iterdir()):
        if written.suffix != ".png":
            text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", written.read_text(encoding="utf-8"))
            for named in ("DOE", "1970", str(tmp_path), "frontal.dcm"):
                assert named not in text, (written.name, named)
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["files"]["volume"] == sha256_of(out)
    assert record["files"]["coverage"] == sha256_of(tmp_path / "r_coverage.nii.gz")
    assert any(warning.startswith("X-ray 1: ") for warning in record["warnings"])


def test_that_no_x_ray_told_a_place_is_known_when_they_are_gone(patient, small_model, tmp_path, capfd):
    out, ct = tmp_path / "r.nii.gz", tmp_path / "ct.nii.gz"
    write_ct(small_phantom((0.0, 0.0, 0.0)), ct)
    for name in ("frontal.dcm", "lateral.dcm"):
        film = pydicom.dcmread(patient / name)
        del film.IsocenterPosition
        film.save_as(patient / name)
    assert main(reconstruct_command(patient, small_model, out, "--quiet")) == 0
    for name in ("frontal.dcm", "lateral.dcm"):
        (patient / name).unlink()
    capfd.readouterr()
    assert main(["compare", str(out), str(ct), "--out", str(tmp_path / "cmp")]) == 0
    assert NO_PLACE in capfd.readouterr().err


def test_x_rays_that_lie_elsewhere_are_found_by_name_only(films, small_model, tmp_path, capfd):
    out, far = tmp_path / "a" / "b" / "c" / "r.nii.gz", tmp_path / "far" / "away" / "x"
    shutil.copytree(films, far)
    assert main(reconstruct_command(far, small_model, out, "--quiet")) == 0
    compare = ["compare", str(out), "--out", str(tmp_path / "cmp")]
    capfd.readouterr()
    assert main(compare) == 2
    said = capfd.readouterr().err
    assert f"X-ray 1 of 2 is not in {out.parent} and the folders in and beside it, or the current folder; name" in said
    assert "the folder that holds them, with --xrays" in said
    assert main([*compare, "--xrays", str(far)]) == 0
    assert len(json.loads((tmp_path / "cmp" / "metrics.json").read_text())["reprojection"]) == 2
    (far / "frontal.dcm").write_bytes((far / "lateral.dcm").read_bytes())  # another film by its name
    assert main([*compare, "--xrays", str(far)]) == 2
    assert f"X-ray 1 of 2 is not in {far} or {out.parent} and" in capfd.readouterr().err
    assert main([compare[0], compare[1], str(films / "ct.nii.gz"), *compare[2:]]) == 0  # the CT alone
    assert "X-ray 1 of 2 is not in" in capfd.readouterr().err


def test_a_ct_in_the_place_of_the_reconstruction_is_named_and_so_is_a_file_in_that_of_the_folder(
    films, small_model, tmp_path, capfd
):
    out, ct = tmp_path / "r.nii.gz", str(films / "ct.nii.gz")
    assert main(reconstruct_command(films, small_model, out, "--quiet")) == 0
    capfd.readouterr()
    assert main(["compare", ct, str(out), "--out", str(tmp_path / "cmp")]) == 2
    assert f"{out}: is a reconstruction, as the record beside it says, and {ct} has none" in capfd.readouterr().err
    with pytest.raises(InputError, match="expected the reconstruction first, and then the CT"):
        clsdm.compare(ct, out)
    assert main(["compare", str(out), ct, "--out", str(tmp_path / "report2.html")]) == 2
    assert "report2.html: is the name of a file; expected a folder" in capfd.readouterr().err
    assert not list(tmp_path.glob("*cmp")) + list(tmp_path.glob("*.html"))
    (tmp_path / "of.html").mkdir()
    assert main(["compare", str(out), str(out), "--out", str(tmp_path / "of.html")]) == 0


def test_a_record_of_another_volume_is_refused(films, small_model, tmp_path, capfd):
    assert main(reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--quiet")) == 0
    ct = read_ct(tmp_path / "r.nii.gz")
    ct.hu[:] = ct.hu[::-1].copy()
    write_ct(ct, tmp_path / "r.nii.gz")
    capfd.readouterr()
    assert main(["compare", str(tmp_path / "r.nii.gz"), "--out", str(tmp_path / "cmp"), "--xrays", str(films)]) == 2
    assert "r.json: is the record of another volume" in capfd.readouterr().err
    assert not (tmp_path / "cmp").exists()


@pytest.mark.parametrize("name", ["r_coverage.nii.gz", "r_spread.nii.gz"])
def test_a_companion_that_is_not_ours_is_neither_replaced_nor_removed(name, films, small_model, tmp_path, capfd):
    (tmp_path / name).write_text("the user's")
    command = reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--quiet")
    assert main(command) == 2
    assert f"{name}: is there and is not of an earlier reconstruction" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / name).unlink()
    assert main(command) == 0
    assert main(command) == 0  # over its own
    (tmp_path / name).write_text("the user's")
    assert main(command) == 2


@pytest.mark.parametrize("record", ["none", "of another", "early"])
def test_a_volume_that_is_not_ours_is_not_replaced_and_ours_is_with_a_word(record, films, small_model, tmp_path, capfd):
    out, kept = tmp_path / "myct.nii.gz", (films / "ct.nii.gz").read_bytes()
    command = reconstruct_command(films, small_model, out, "--quiet")
    if record != "none":  # a CT that was put over a reconstruction, or a record without the hashes of its files
        assert main(command) == 0
        made = json.loads((tmp_path / "myct.json").read_text())
        made |= {} if record == "of another" else {"files": None}
        (tmp_path / "myct.json").write_text(json.dumps({key: each for key, each in made.items() if each is not None}))
        (tmp_path / "myct_coverage.nii.gz").unlink()
    if record != "early":
        out.write_bytes(kept)
        capfd.readouterr()
        assert main(command) == 2
        said = capfd.readouterr().err.splitlines()
        assert said == [f"clsdm: {out}: is there and is not of an earlier reconstruction; name another output"]
        assert out.read_bytes() == kept
        out.unlink()
        assert main(command) == 0
        assert "takes the place" not in capfd.readouterr().err
    assert main(command) == 0
    assert f"note: {out}: takes the place of an earlier reconstruction\n" in capfd.readouterr().err


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_the_part_that_x_rays_fix_takes_the_place_of_an_earlier_one_alone(suffix, films, small_model, tmp_path, capfd):
    volume, fixed = tmp_path / "r.nii.gz", tmp_path / f"f{suffix}"
    assert main(reconstruct_command(films, small_model, volume, "--quiet")) == 0
    write_ct(read_ct(films / "ct.nii.gz"), fixed)
    before = fixed.read_bytes()
    command = ["measure", str(volume), "--fixed", str(fixed)]
    assert main(command) == 2
    assert f"{fixed.name}: is there and was not written by this program" in capfd.readouterr().err
    assert fixed.read_bytes() == before
    fixed.write_text("no volume")
    assert main(command) == 2
    fixed.unlink()
    assert main(command) == 0
    assert main(command) == 0


def test_voxels_beside_their_header_are_an_input_too(films, small_model, tmp_path, capfd):
    pixels = pydicom.dcmread(films / "frontal.dcm").pixel_array.astype("<u2")
    (tmp_path / "r.mha").write_bytes(pixels.tobytes())
    (tmp_path / "film.mhd").write_text(
        f"ObjectType = Image\nNDims = 2\nDimSize = {pixels.shape[1]} {pixels.shape[0]}\nElementSpacing = 8 8\n"
        "ElementType = MET_USHORT\nElementDataFile = r.mha\n"
    )
    command = ["reconstruct", "--frontal", str(tmp_path / "film.mhd"), "--bundle", str(small_model.path)]
    assert main([*command, "--out", str(tmp_path / "r.mha")]) == 2
    assert "would be written over" in capfd.readouterr().err
    assert (tmp_path / "r.mha").read_bytes() == pixels.tobytes()


def test_a_comparison_is_not_written_over_a_film_that_it_found(films, small_model, tmp_path, capfd):
    film = tmp_path / "comparison.png"
    shutil.copy(films / "frontal.dcm", film)
    out = tmp_path / "r.nii.gz"
    assert main(["reconstruct", "--frontal", str(film), "--bundle", str(small_model.path), "--out", str(out)]) == 0
    (tmp_path / "metrics.json").write_text('{"schema": "clsdm-comparison"}', encoding="utf-8")
    assert main(["compare", str(out), "--out", str(tmp_path)]) == 2
    assert "comparison.png: would be written over" in capfd.readouterr().err
    assert film.read_bytes() == (films / "frontal.dcm").read_bytes()


def test_a_line_end_in_a_name_does_not_cut_the_message(tmp_path, capfd):
    assert main(["reconstruct", "--frontal", str(tmp_path / "a\nb.dcm"), "--out", str(tmp_path / "r.nii.gz")]) == 2
    assert capfd.readouterr().err.endswith("a b.dcm: no such file\n")


@pytest.mark.parametrize("how", ["film", "symlink", "hardlink", "coverage", "weights"])
def test_no_input_is_written_over(how, films, small_model, tmp_path, capfd):
    folder = tmp_path / "films"
    shutil.copytree(films, folder)
    ct = read_ct(folder / "ct.nii.gz")
    write_ct(ct, folder / "r.nii.gz")
    frontal, out = folder / "r.nii.gz", folder / "r.nii.gz"
    if how == "symlink":
        out = tmp_path / "out.nii.gz"
        out.symlink_to(frontal)
    elif how == "hardlink":
        out = tmp_path / "out.nii.gz"
        out.hardlink_to(frontal)
    elif how == "coverage":
        frontal = folder / "x_coverage.nii.gz"
        shutil.copy(folder / "r.nii.gz", frontal)
        out = folder / "x.nii.gz"
    command = ["reconstruct", "--frontal", str(frontal), "--bundle", str(small_model.path), "--out", str(out)]
    if how == "weights":
        (folder / "r.json").symlink_to(small_model.path / "bundle.json")
        out = folder / "r.nii.gz"
        command = reconstruct_command(films, small_model, out)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert main(command) == 2
    assert "would be written over" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_request_is_not_replaced_by_the_record_of_its_own_volume(films, small_model, tmp_path, capfd):
    views = [{"file": str(films / f"{name}.dcm")} for name in ("frontal", "lateral")]
    request = {"views": views, "out": str(tmp_path / "r.nii.gz"), "bundle": str(small_model.path)}
    (tmp_path / "r.json").write_text(json.dumps(request))
    assert main(["reconstruct", str(tmp_path / "r.json")]) == 2
    assert "would be written over" in capfd.readouterr().err
    assert json.loads((tmp_path / "r.json").read_text()) == request
    assert main(reconstruct_command(films, small_model, tmp_path / "r.nii.gz")) == 2
    assert "r.json: is there and is no record of a reconstruction" in capfd.readouterr().err


def test_x_rays_of_a_ct_do_not_go_into_its_own_folder_nor_a_comparison_over_its_input(films, tmp_path, capfd):
    (tmp_path / "series").mkdir()
    shutil.copy(films / "frontal.dcm", tmp_path / "series" / "frontal.dcm")
    before = (tmp_path / "series" / "frontal.dcm").read_bytes()
    assert main(["project", str(tmp_path / "series"), "--out", str(tmp_path / "series")]) == 2
    assert "would be written over" in capfd.readouterr().err
    assert (tmp_path / "series" / "frontal.dcm").read_bytes() == before
    (tmp_path / "cmp").mkdir()
    shutil.copy(films / "ct.nii.gz", tmp_path / "ct.nii.gz")
    (tmp_path / "cmp" / "metrics.json").symlink_to(tmp_path / "ct.nii.gz")
    command = ["compare", str(films / "ct.nii.gz"), str(tmp_path / "ct.nii.gz"), "--out", str(tmp_path / "cmp")]
    assert main(command) == 2
    assert "would be written over" in capfd.readouterr().err


@pytest.mark.parametrize("option", ["--frontal", "--lateral", "--bundle", "--out"])
@pytest.mark.parametrize("given", ["", "a\0b"])
def test_an_empty_or_impossible_path_is_an_error(option, given, films, small_model, tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = reconstruct_command(films, small_model, tmp_path / "r.nii.gz")
    command[command.index(option) + 1] = given
    assert main(command) == 2
    assert capfd.readouterr().err.startswith(f"clsdm: {option}: ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "more",
    [["--seed", "-1"], ["--seed", str(2**63)], ["--photons", "0"], ["--photons", "nan"], ["--photons", "1e300"],
     ["--isocentre", "nan", "0", "0"], ["--isocentre", "1e30", "0", "0"]],
)  # fmt: skip
def test_numbers_out_of_their_range_are_refused_before_anything_is_read(more, films, tmp_path, capfd):
    noisy = [] if "--photons" in more else ["--photons", "1000"]
    assert main(["project", str(films / "ct.nii.gz"), *noisy, *more, "--out", str(tmp_path / "x")]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path, capfd):
    name = "\x1b[31mred\x07\u202e.dcm"
    assert main(["reconstruct", "--frontal", str(tmp_path / name), "--out", str(tmp_path / "r.nii.gz")]) == 2
    err = capfd.readouterr().err
    assert "\\x1b[31mred\\x07\\u202e.dcm" in err
    assert not set("\x1b\x07\u202e") & set(err)
    with pytest.raises(SystemExit):
        main(["reconstruct", "--product", "\x1b[31m"])
    assert "\x1b" not in capfd.readouterr().err


def test_files_are_found_by_their_content_and_not_without_end(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"some")
    (tmp_path / "y").write_bytes(b"same size")
    (tmp_path / "z").write_bytes(b"9 letters")
    mark = mark_of(tmp_path / "y")
    assert is_mark(mark)
    assert not is_mark("sha256:x:1")
    assert find([mark, mark_of(tmp_path / "a" / "x"), f"sha256:{'0' * 64}:9"], [tmp_path]) == {
        mark: tmp_path / "y",
        mark_of(tmp_path / "a" / "x"): tmp_path / "a" / "x",
    }
    assert MOST_LOOKED_AT <= 100_000


@pytest.mark.parametrize("interval", [{}, {"patients": 3, "corrected": 1.0, "held": {"80": 2.0}, "normal": {}}])
def test_a_table_of_measures_that_cannot_be_shown_counts_as_none(interval):
    value = {"lung_ml": {"value": 1.0, "intervals": interval}}
    table = {"values": value, "not_measurable": {}, "over_mm": None, "profiles": {}, "calibrated": True}
    table |= {"definition": DEFINITION}
    assert recorded({"measures": table}) is None
    assert recorded({"measures": table | {"values": {}}}) is not None
    assert recorded({"measures": table | {"values": {}, "definition": DEFINITION - 1}}) is None


def test_names_that_keep_no_affine_are_refused():
    for name in ("r.png", "r", ".nii.gz", "r.dcm", "r.mhd"):
        with pytest.raises(InputError, match=r"expected a name ending in"):
            companions(Path(name))


def test_a_volume_without_a_record_has_none_and_a_damaged_record_is_refused(tmp_path):
    assert read_record(tmp_path / "r.nii.gz") is None
    (tmp_path / "r.json").write_text("{}")
    assert read_record(tmp_path / "r.nii.gz") is None
    (tmp_path / "r.json").write_text("{")
    with pytest.raises(InputError, match="not a readable record"):
        read_record(tmp_path / "r.nii.gz")


def test_a_record_without_its_x_rays_is_read_and_shown_by_compare(tmp_path):
    """As 3D Slicer's export writes it: a scene does not hold where the X-rays lie."""
    _, y, x = np.meshgrid(*[np.arange(-60.0, 61.0, 4.0)] * 3, indexing="ij")
    ct = CTVolume(np.where(x**2 + y**2 < 2000, 40.0, -1000.0).astype(np.float32), (4.0,) * 3, (-60.0,) * 3)
    for name in ("r.nii.gz", "ct.nii.gz"):
        write_ct(ct, tmp_path / name)
    record = make_record({"model": "some model"}, [{"angle_deg": 0.0, "rmse": 0.1, "correlation": 0.9}], ["a warning"])
    (tmp_path / "r.json").write_text(record_text(record), encoding="utf-8")
    assert read_record(tmp_path / "r.nii.gz") == record
    assert main(["compare", str(tmp_path / "r.nii.gz"), str(tmp_path / "ct.nii.gz"), "--out", str(tmp_path / "o")]) == 0
    assert any("some model" in path.read_text() for path in (tmp_path / "o").glob("*.html"))


@pytest.mark.parametrize(
    ("views", "problem"),
    [
        ("much", "expected a list of views, found 'much'"),
        ([1], "expected a list of views"),
        (9 * [{}], "expected 1 to 8, found 9"),
        ([{"pixel_mm": [1e-200, 1.0]}], "the image's edge"),
        ([{"source_axis_mm": 1.0}], "source_axis_mm is 1 mm"),
        ([{"rows": 10**12}], "the image's edge"),
    ],
)
def test_recorded_views_that_no_machine_has_are_refused(views, problem):
    whole = {"angle_deg": 0.0, "source_axis_mm": 1600.0, "source_detector_mm": 1800.0, "rows": 64, "cols": 64}
    whole |= {"pixel_mm": [6.0, 6.0], "origins": {}}
    views = [whole | view if isinstance(view, dict) else view for view in views] if isinstance(views, list) else views
    with pytest.raises(InputError, match=problem):
        recorded_views({"provenance": {"views": views}}, "r.nii.gz")


@pytest.mark.parametrize("name", ["report.html", "comparison.png", "metrics.json"])
def test_no_report_of_the_users_is_replaced_by_a_comparison(name, films, tmp_path, capfd):
    (tmp_path / name).write_text('{"schema": "mine"}', encoding="utf-8")
    ct = str(films / "ct.nii.gz")
    assert main(["compare", ct, ct, "--out", str(tmp_path)]) == 2
    assert f"{name}: is there and was not written by this program" in capfd.readouterr().err
    assert (tmp_path / name).read_text(encoding="utf-8") == '{"schema": "mine"}'
    (tmp_path / name).unlink()
    assert main(["compare", ct, ct, "--out", str(tmp_path), "--quiet"]) == 0
    assert main(["compare", ct, ct, "--out", str(tmp_path), "--quiet"]) == 0
