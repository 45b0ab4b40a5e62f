"""Real X-rays with a known CT, on small trees in the layout of The Cancer Imaging Archive."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ct_series import edit, write_series
from scipy.spatial.transform import Rotation
from small_bundle import edited, small_phantom, small_xrays
from tiny_systems import rows_of

from clsdm.errors import InputError
from clsdm.geometry.view import View
from clsdm.model.bundle import Bundle, patient_mark
from clsdm.simulate import simulate_xray
from clsdm.volume.ct import CTVolume, Grid, point
from clsdm.volume.cube import to_cube
from clsdm.xray.write_dx import write_dx
from clsdm.xray.write_localizer import write_localizer
from clsdm_bench.cli import main
from clsdm_bench.real.localizers import Reconstructor, Settings
from clsdm_bench.real.pairs import FOUND, FRONTAL_AND_LATERAL, _rows, chosen_radiographs
from clsdm_bench.real.registration import register
from clsdm_trainer.data.prepare import PrepareConfig, prepare
from clsdm_trainer.data.source import SourceConfig
from clsdm_trainer.data.store import Store

CENTRE = (12.0, -30.0, 250.0)


def patient(root: Path, name: str, *, scouts: bool = True) -> CTVolume:
    """LIDC-IDRI/<patient>/<study>/<series>: a CT with its scouts, and a chest examination of another day."""
    ct = small_phantom(CENTRE)
    study = root / name / "01-01-2000-CT"
    write_series(
        study / "3-CT", ct, PatientID=name, StudyInstanceUID=f"1.{name[1:]}.1", StudyDate="20000101", SeriesNumber=3
    )
    for angle in (180.0, -90.0) if scouts else ():
        (study / "1-scout").mkdir(exist_ok=True)
        made = simulate_xray(ct, View(angle, 570.0, 1040.0, 256, 200, (1.5, 4.0), beam="fan"), (0.0, -30.0, 240.0))
        path = study / "1-scout" / f"{angle:g}.dcm"
        write_localizer(made, path)
        edit(path, PatientID=name, IssuerOfPatientID="", StudyInstanceUID=f"1.{name[1:]}.1")
    films = root / name / "06-01-2000-Chest"
    films.mkdir(parents=True)
    for number, xray in enumerate(small_xrays(ct, centre_mm=CENTRE), 1):
        path = films / f"{number}.dcm"
        write_dx(replace(xray, isocentre_mm=None), path, instance_number=number)
        edit(path, PatientID=name, IssuerOfPatientID="", StudyInstanceUID=f"1.{name[1:]}.2", StudyDate="20000601")
    return ct


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tcia") / "LIDC-IDRI"
    patient(root, "P1")
    patient(root, "P2", scouts=False)
    return root


@pytest.mark.parametrize("seed", [0, 1])
def test_a_scan_is_moved_to_where_it_lies_in_the_reconstruction(seed: int):
    """A part of the body as another machine would place it: turned, at another height, in other coordinates."""
    random = np.random.default_rng(seed)
    scan = small_phantom(CENTRE)
    turn = Rotation.from_euler("xyz", random.uniform(-6, 6, 3), degrees=True).as_matrix()
    shift = random.uniform(-25, 25, 3) * (1, 1, 1.5)
    place = replace(
        scan, origin_mm=point(turn @ (np.array(scan.origin_mm) - CENTRE) + shift), direction=turn @ scan.direction
    )
    recon = to_cube(place, Grid(24, 10.0), (0.0, 0.0, 0.0))
    found = register(recon, scan)
    middle = found.scan.direction @ (place.direction.T @ (np.zeros(3) - place.origin_mm)) + found.scan.origin_mm
    assert np.linalg.norm(middle) < 4.0  # the body's middle, where the reconstruction has it
    turned = Rotation.from_matrix(found.scan.direction @ place.direction.T).magnitude()
    assert np.degrees(turned) < 4.0
    assert found.correlation > 0.95


def test_a_reconstruction_without_a_body_cannot_be_registered():
    air = CTVolume.on_grid(np.full((16, 16, 16), -1000.0, np.float32), Grid(16, 20.0))
    with pytest.raises(InputError, match="nothing of a body"):
        register(air, small_phantom())


def test_localizers_are_scored_beside_projections_in_their_views(
    tree: Path, small_model: Bundle, tmp_path: Path, capsys
):
    code = main(
        [
            "localizers",
            "--data",
            str(tree),
            "--bundle",
            str(small_model.path),
            "--device",
            "cpu",
            "--out",
            str(tmp_path),
        ]
    )
    assert code == 0
    rows = rows_of(tmp_path)
    assert [(row["case"], row["condition"]) for row in rows] == [
        ("P1", "localizers"), ("P1", "projections of the scan in the same views"),
    ]  # fmt: skip
    real, projected = ({key: float(row[key]) for key in ("psnr_db", "residual")} for row in rows)
    assert real["psnr_db"] == pytest.approx(projected["psnr_db"], abs=0.2)  # the scouts are projections here
    assert real["residual"] == pytest.approx(projected["residual"], abs=0.02)
    results = json.loads((tmp_path / "results.json").read_text())
    assert set(results["methods"]) == {f"{row['condition']} (1)" for row in rows}
    assert "| localizers (1) |" in capsys.readouterr().out


def test_a_tree_without_localizers_and_a_known_patient_are_refused(
    tree: Path, small_model: Bundle, tmp_path: Path, capsys
):
    arguments = ["localizers", "--bundle", str(small_model.path), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--data", str(tree / "P2")]) == 2
    assert "no patient with CT localizers" in capsys.readouterr().err
    knows = edited(small_model, tmp_path / "knows", trained_patients=[patient_mark("P1")])
    arguments[2] = str(knows)
    assert main([*arguments, "--data", str(tree)]) == 2
    assert "trained or selected on this patient" in rows_of(tmp_path / "out")[0]["refused"]


@pytest.fixture(scope="module")
def store(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("store")
    source = SourceConfig(kind="dicom", root=tree, public_ids=True, split="test")
    prepare(PrepareConfig(sources=(source,), out=out, size=16, spacing_mm=24, margin=0, scan_spacing_mm=12, workers=1))
    return Store.open(out)


def test_radiographs_of_another_day_are_scored_after_registration(tree, store, small_model, tmp_path, capsys):
    assert len(store.radiographs) == 4
    code = main(["real-pairs", "--store", str(store.folder), "--data", str(tree), "--bundle", str(small_model.path),
                 "--device", "cpu", "--out", str(tmp_path), "--limit", "1"])  # fmt: skip
    (row,) = rows_of(tmp_path)  # random weights give no body
    assert (code, "cannot be registered" in row["refused"]) == (2, True)


class Knowing(Reconstructor):
    """One that gives the patient's CT, as another machine would place it, and moves the views as the real one does."""

    def __call__(self, xrays, *, refine=False):
        _, figures = super().__call__(xrays, refine=refine)
        return to_cube(small_phantom(CENTRE), Grid(24, 10.0), CENTRE), figures


def test_each_pair_is_scored_as_stated_and_with_its_geometry_found(tree: Path, store: Store, small_model: Bundle):
    case = next(case for case in store.all_cases if case.patient == "P1")
    films = [film for film in store.radiographs if film.patient == "P1"]
    stated, found = _rows(
        case, store, films, tree, Knowing(small_model, Settings(device="cpu", spacing_mm=10.0)), "chest"
    )
    assert (stated.condition, found.condition) == (FRONTAL_AND_LATERAL, FOUND)
    for row in (stated, found):
        assert row.figures["registered_correlation"] > 0.95
        assert row.figures["body_dice"] > 0.9
    assert found.figures["residual"] <= stated.figures["residual"]
    assert set(found.figures) - set(stated.figures) == {"found_turned_deg", "found_down_mm", "found_scale"}


def test_of_several_examinations_the_nearest_with_both_views_is_taken(tree: Path, store: Store):
    films = [film for film in store.radiographs if film.patient == "P1"]
    near = replace(films[0], study="nearer", days_from_ct=1)  # a frontal film alone
    pair = chosen_radiographs([near, *films], tree, "chest")
    assert [xray.view.angle_deg for xray in pair] == [0.0, 90.0]
    assert [xray.view.angle_deg for xray in chosen_radiographs([near], tree, "chest")] == [0.0]


def test_a_film_that_is_gone_or_another_is_refused(tree: Path, store: Store):
    film = store.radiographs[0]
    for changed, said in (
        (replace(film, source="P1/gone.dcm"), "holds no such file"),
        (replace(film, sha256="0"), "not the file"),
    ):
        with pytest.raises(InputError, match=said):
            chosen_radiographs([changed], tree, "chest")


def test_a_store_without_radiographs_has_nothing_to_try(tmp_path: Path, small_model: Bundle, tree: Path, capsys):
    write_series(tmp_path / "in" / "P7", small_phantom(), PatientID="P7")
    source = SourceConfig(kind="dicom", root=tmp_path / "in", public_ids=True, split="test")
    prepare(PrepareConfig(sources=(source,), out=tmp_path / "s", size=16, spacing_mm=24, margin=0, workers=1))
    arguments = ["--store", tmp_path / "s", "--data", tree, "--bundle", small_model.path, "--out", tmp_path / "o"]
    assert main(["real-pairs", *map(str, arguments)]) == 2
    assert "lists no radiographs" in capsys.readouterr().err
