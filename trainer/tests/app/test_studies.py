"""``--studies``: which X-rays of a tree of DICOM files are taken."""

from pathlib import Path

import pydicom
from small_bundle import run

from clsdm.app.cases import cases_of_studies


def test_of_repeats_in_a_tree_the_last_is_taken_and_said(films, small_model, tmp_path, capfd):
    for number, name in enumerate(("frontal", "lateral", "frontal")):
        tags = pydicom.dcmread(films / f"{name}.dcm")
        tags.InstanceNumber, tags.StudyInstanceUID, tags.SOPInstanceUID = number, "1.2.3.1", f"1.2.3.4.{number}"
        tags.save_as(tmp_path / f"{number}.dcm")
    wanted = []
    (case,) = cases_of_studies(tmp_path, lambda name, own: wanted.append(own), lambda *_: None)
    assert (Path(wanted[0]["frontal"]).name, Path(wanted[0]["lateral"]).name) == ("2.dcm", "1.dcm")
    assert case.notes == ("of 2 frontal X-rays of the study the last exposed is taken",)
    tree = ("--studies", str(tmp_path), "--out", str(tmp_path / "out"))
    said = "".join(run(capfd, "reconstruct", "--bundle", str(small_model.path), "--device", "cpu", *tree)[1:])
    assert f"{case.name}: {case.notes[0]}" in said
