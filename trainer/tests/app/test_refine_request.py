"""A geometry that was found stands in the record, so that whoever reads it sees the X-rays where they were found."""

import json

import pytest

from clsdm import refine
from clsdm.app.request import Request, ViewRequest, found_again, read_views, run
from clsdm.geometry.view import View
from clsdm.reconstruction import Options


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
    assert any(text.startswith("geometry: the residual went from") for text in result.warnings)
    record = json.loads((tmp_path / "r.json").read_text())
    assert record["provenance"]["refined"] is True
    again = read_views(found_again(record["request"], tmp_path / "r.nii.gz", [films]))
    for xray, view in zip(again, result.views, strict=True):
        assert_same_view(xray.view, view)


def assert_same_view(found: View, expected: View) -> None:
    names = ("angle_deg", "tilt_deg", "source_axis_mm", "source_detector_mm", "offset_mm", "pixel_mm")
    for name in names:
        assert getattr(found, name) == pytest.approx(getattr(expected, name))
