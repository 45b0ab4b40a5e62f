"""The patients of a benchmark: public data sets and their published splits, and where X-rays of scans come from."""

from pathlib import Path

import numpy as np
import pytest
from ct_series import write_series
from tiny import GRID, MARGIN, phantom_hu, tiny_case

from clsdm.errors import InputError
from clsdm.volume.ct import CTVolume
from clsdm_bench.benchmark import fitting_source
from clsdm_bench.patients import load_patients
from clsdm_bench.table import load_table
from clsdm_trainer.data.manifest import write_manifest
from clsdm_trainer.data.source import SourceConfig, scans_of
from clsdm_trainer.data.store import Store
from clsdm_trainer.files import sha256_of


def test_x_rays_of_the_scan_show_what_lies_outside_the_cube_and_those_of_the_cube_do_not(tmp_path: Path) -> None:
    hu = phantom_hu(np.random.default_rng(1))
    hu[:, :, :MARGIN] = hu[:, :, -MARGIN:] = 900  # both arms
    np.save(tmp_path / "e.npy", hu)
    cases = [tiny_case("e", "test", "e.npy", sha256_of(tmp_path / "e.npy"))]
    write_manifest(tmp_path, GRID, MARGIN, GRID.spacing_mm, cases, {"placement": "body", "background": "keep"})
    lateral = {
        of_cube: load_patients(Store.open(tmp_path), "test", "chest", (90.0,), of_cube=of_cube)[0]
        for of_cube in (True, False)
    }
    assert np.array_equal(lateral[True].truth.hu, lateral[False].truth.hu)
    assert lateral[False].xrays[0].image.min() > lateral[True].xrays[0].image.min() + 1.0
    assert lateral[True].covered.all()


def test_data_that_no_layout_fits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of dicom"):
        fitting_source(load_table("lidc128").sources, tmp_path)


def test_the_published_lists_of_scans_split_a_dicom_download_by_patient(tmp_path: Path) -> None:
    ct = CTVolume(np.full((10, 12, 14), 40.0, dtype=np.float32), (2.0, 3.0, 4.0), (0.0, 0.0, 0.0))
    lists = {
        "train": [f"LIDC-IDRI-{n:04d}.2000.1" for n in range(2, 62)],
        "test": ["LIDC-IDRI-0001.20000101.3000566.1"],
    }
    for name, ids in lists.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(ids), encoding="utf-8")
    write_series(tmp_path / "LIDC-IDRI-0001" / "series", ct)
    source = fitting_source(load_table("lidc128").sources, tmp_path)
    assert source.kind == "dicom"
    placed, rejected = scans_of(source)
    assert [(scan.patient, split) for scan, split in placed] == [("LIDC-IDRI-0001", "test")]
    assert len(rejected) == 60, "scans that are listed and not there are named"
    assert isinstance(source, SourceConfig)
