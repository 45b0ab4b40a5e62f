"""A request as JSON, and the files that are written for it: all of them, or none; a geometry that was found among them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from one_line import refusal
from small_bundle import PIXELS

import clsdm
from clsdm import refine
from clsdm.app.record import XRaysNotFoundError, read_record
from clsdm.app.request import Request, ViewRequest, found_again, nameless_request, read_request, read_views, run
from clsdm.app.views import refuse_twice
from clsdm.errors import InputError
from clsdm.files.strict_json import to_plain
from clsdm.model.bundle import Bundle
from clsdm.reconstruction import Options
from clsdm.volume.read import read_ct
from clsdm.xray.read import GeometryOverrides


def request_for(films: Path, bundle: Bundle, out: Path, product: str = "mean") -> Request:
    views = tuple(ViewRequest(str(films / f"{name}.dcm")) for name in ("frontal", "lateral"))
    return Request(views, str(out), str(bundle.path), options=Options(product, samples=2, device="cpu"))


def written(path: Path, request: object) -> Path:
    path.write_text(json.dumps(request), encoding="utf-8")
    return path


def test_a_request_is_read_back_as_it_was_written(tmp_path):
    geometry = GeometryOverrides(pixel_mm=(0.5, 0.6), invert=True, flip_horizontal=True, offset_mm=(1.0, 2.0))
    views = (ViewRequest("a.dcm"), ViewRequest("b.png", 90.0, None, geometry), ViewRequest("c.png", None, 45.0))
    request = Request(views, "r.nii.gz", "b", "c-arm", Options("ensemble", 4, 16, 3, "cpu"))
    assert read_request(written(tmp_path / "q.json", to_plain(request))) == request


def test_the_smallest_request_takes_every_default(tmp_path):
    request = read_request(written(tmp_path / "q.json", {"views": [{"file": "a.dcm"}], "out": "r.nii"}))
    assert request == Request((ViewRequest("a.dcm"),), "r.nii")
    assert request.options == Options()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"views": [{"file": "a.dcm", "angel_deg": 3}]}, ".views[0].angel_deg: unknown field"),
        ({"views": [{"file": "a.dcm", "geometry": {"spacing": 3}}]}, ".views[0].geometry.spacing: unknown field"),
        ({"options": {"steps": 0}}, ".options: steps: expected 1 to 1000, got 0"),
        ({"views": []}, "no X-ray given"),
        ({"schema": 2}, "schema version 2 is unknown"),
        ({"preset": "mri"}, "request.preset: expected one of"),
        ({"ground_truth": "ct.nii.gz"}, ".ground_truth: unknown field"),
    ],
)
def test_a_field_that_does_not_belong_or_fit_is_named_with_the_file(changes, named, tmp_path):
    path = written(tmp_path / "q.json", {"views": [{"file": "a.dcm"}], "out": "r.nii.gz"} | changes)
    said = refusal(read_request, path)
    assert said.startswith(str(path))
    assert named in said


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"3", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(content, tmp_path):
    (tmp_path / "q.json").write_bytes(content)
    with pytest.raises(InputError, match=r"q\.json: (not JSON|expected an object)"):
        read_request(tmp_path / "q.json")
    with pytest.raises(InputError, match=r"nowhere\.json: cannot be read"):
        read_request(tmp_path / "nowhere.json")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_every_format_holds_the_same_volume_and_its_companions(suffix, films, small_model, tmp_path):
    out = tmp_path / "new" / f"r{suffix}"
    result, files = run(request_for(films, small_model, out, "ensemble"))
    assert files == {
        "volume": str(out),
        "coverage": str(tmp_path / "new" / f"r_coverage{suffix}"),
        "spread": str(tmp_path / "new" / f"r_spread{suffix}"),
        "record": str(tmp_path / "new" / "r.json"),
    }
    assert sorted(map(str, (tmp_path / "new").iterdir())) == sorted(files.values())
    for role, volume in (("volume", result.volume), ("coverage", result.coverage), ("spread", result.spread)):
        image = sitk.ReadImage(files[role])
        np.testing.assert_allclose(sitk.GetArrayFromImage(image), volume.hu, atol=0.501)
        assert image.GetOrigin() == pytest.approx(volume.origin_mm)
    np.testing.assert_allclose(read_ct(out).hu, result.volume.hu, atol=0.501)


def test_the_record_leads_back_to_the_x_rays_from_anywhere(films, small_model, tmp_path, monkeypatch):
    monkeypatch.chdir(films)
    views = (ViewRequest("frontal.dcm", geometry=GeometryOverrides(pixel_mm=(6.0, 6.5))), ViewRequest("lateral.dcm"))
    request = Request(views, str(tmp_path / "r.nii.gz"), str(small_model.path), options=Options(device="cpu"))
    result, files = run(request)
    monkeypatch.chdir(tmp_path)
    record = read_record(tmp_path / "r.nii.gz")
    assert record == json.loads(Path(files["record"]).read_text(encoding="utf-8"))
    assert record["provenance"] == json.loads(json.dumps(result.provenance))
    assert str(films) not in json.dumps(record)
    again = read_views(found_again(record["request"], tmp_path / "r.nii.gz", [films]))
    assert again[0].view.pixel_mm == (6.0, 6.5)
    for one, other in zip(again, read_views(request_for(films, small_model, tmp_path)), strict=True):
        assert np.array_equal(one.image, other.image)


def test_localizers_that_lie_elsewhere_are_said_to_be_not_found(tmp_path):
    recorded = to_plain(nameless_request(Request((), "r.nii.gz", localizers=str(tmp_path))))
    with pytest.raises(XRaysNotFoundError, match=r"which folder they lie in; name it with --xrays FOLDER"):
        found_again(recorded, tmp_path / "r.nii.gz")
    assert found_again(recorded, tmp_path / "r.nii.gz", [tmp_path]).localizers == str(tmp_path)


def test_the_record_holds_nothing_that_identifies_a_patient(films, small_model, tmp_path):
    from pydicom import dcmread

    result, files = run(request_for(films, small_model, tmp_path / "r.nii.gz"))
    text = Path(files["record"]).read_text(encoding="utf-8")
    tags = dcmread(films / "frontal.dcm")
    for secret in (str(tags.PatientID), str(tags.StudyInstanceUID), str(tags.PatientName)):
        assert secret not in text
    assert all(xray["rows"] == PIXELS for xray in result.provenance["views"])


def test_the_spread_of_an_earlier_ensemble_does_not_stay_beside_a_new_volume(films, small_model, tmp_path):
    _, files = run(request_for(films, small_model, tmp_path / "r.nii.gz", "ensemble"))
    assert Path(files["spread"]).exists()
    run(request_for(films, small_model, tmp_path / "r.nii.gz", "mean"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r.json", "r.nii.gz", "r_coverage.nii.gz"]


def test_a_failure_leaves_the_earlier_files_alone(films, small_model, tmp_path):
    _, files = run(request_for(films, small_model, tmp_path / "r.nii.gz", "ensemble"))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    Path(files["record"]).unlink()
    Path(files["record"]).mkdir()
    del before[Path(files["record"])]
    with pytest.raises(InputError, match=r"r\.json: cannot be written \(a folder"):
        run(request_for(films, small_model, tmp_path / "r.nii.gz", "mean"))
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_the_angle_is_the_users_else_the_files_else_the_default(films, small_model, tmp_path):
    lateral = str(films / "lateral.dcm")
    frontal, picture = str(films / "frontal.dcm"), tmp_path / "p.png"
    values = np.random.default_rng(0).integers(0, 65535, (PIXELS, PIXELS), dtype=np.uint16)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(picture))
    spacing = GeometryOverrides(pixel_mm=6.0)
    views = (
        ViewRequest(lateral, 45.0),
        ViewRequest(frontal, None, 45.0),
        ViewRequest(str(picture), None, 45.0, spacing),
    )
    read = read_views(Request(views, "r.nii.gz"))
    assert [xray.view.angle_deg for xray in read] == [45.0, 0.0, 45.0]
    with pytest.raises(InputError, match="give its angle"):
        read_views(Request((ViewRequest(str(picture), geometry=spacing),), "r.nii.gz"))


def test_a_request_of_an_earlier_version_names_the_pixel_size_otherwise(tmp_path):
    view = {"file": "frontal.png", "angle_deg": 0.0, "geometry": {"spacing_mm": [0.5, 0.6]}}
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"views": [view], "out": "r.nii.gz"}), encoding="utf-8")
    assert read_request(path).views[0].geometry.pixel_mm == (0.5, 0.6)
    path.write_text(json.dumps({"views": 3, "out": "r.nii.gz"}), encoding="utf-8")
    with pytest.raises(InputError, match="views"):
        read_request(path)


def test_the_record_of_a_refined_reconstruction_gives_the_views_that_were_found(
    tmp_path, films, small_model, monkeypatch
):
    monkeypatch.setattr(refine, "LEAST_DEG", 0.0)  # whatever was found stays
    views = tuple(ViewRequest(str(films / f"{name}.dcm")) for name in ("frontal", "lateral"))
    request = Request(views, str(tmp_path / "r.nii.gz"), str(small_model.path), options=Options(refine=True))
    result, _ = run(request)
    plain = read_views(request)
    assert result.views[0] == plain[0].view
    assert result.views[1] != plain[1].view  # a model that was never trained is glad of any move
    assert any(text.startswith("geometry: a coarse estimate's residual went from") for text in result.warnings)
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["provenance"]["refined"] is True
    again = read_views(found_again(record["request"], tmp_path / "r.nii.gz", [films]))
    for xray, view in zip(again, result.views, strict=True):
        assert all(
            found == pytest.approx(getattr(view, name)) for name, found in vars(xray.view).items() if name != "beam"
        )


def test_a_film_that_is_named_twice_is_refused_and_two_frames_of_a_run_are_not(films, tmp_path):
    (tmp_path / "same.dcm").hardlink_to(films / "frontal.dcm")
    shutil.copy(films / "frontal.dcm", tmp_path / "copy.dcm")
    for name in (films / "frontal.dcm", tmp_path / "same.dcm", tmp_path / "copy.dcm"):
        views = ViewRequest(str(films / "frontal.dcm"), default_angle_deg=0.0), ViewRequest(str(name), 90.0)
        with pytest.raises(
            InputError, match=r"(frontal|same|copy)\.dcm: given twice, as exposures 1 and 2; expected a file for each"
        ):
            read_views(Request(views, "r.nii.gz"))
        with pytest.raises(InputError, match="given twice, as exposures 1 and 2"):
            clsdm.reconstruct(films / "frontal.dcm", name)
    frames = [ViewRequest(str(films / "frontal.dcm"), geometry=GeometryOverrides(frame=each)) for each in (1, 2)]
    refuse_twice(frames)
