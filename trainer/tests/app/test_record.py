"""The record beside a reconstruction, whoever wrote it."""

from pathlib import Path

import numpy as np
import pytest

from clsdm.app.cli import main
from clsdm.app.record import companions, make_record, read_record, record_text
from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm.volume.write import write_ct


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
