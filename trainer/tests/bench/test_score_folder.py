"""A folder of a scoring goes on with the scans that it was begun with, and with no others of their names."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from clsdm.errors import InputError
from clsdm_bench.cli import main
from clsdm_bench.numbers.collect import _kept
from clsdm_bench.score.cases import ScanFile
from clsdm_bench.score.run import SETTINGS, Scoring, Settings, claim


def scoring(folder: Path, *names: str, settings: Settings | None = None) -> Scoring:
    scans = [ScanFile(name, "chests", folder / f"{name}.nii.gz") for name in names]
    bundle = SimpleNamespace(hash="0" * 64)
    return Scoring(bundle, scans, folder / "out", settings or Settings())  # type: ignore[arg-type]


def test_another_scan_of_a_name_is_refused_and_more_scans_may_come(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.nii.gz").write_text(name)
    claim(scoring(tmp_path, "one"))
    claim(scoring(tmp_path, "two"))
    claim(scoring(tmp_path, "one", "two"))
    (tmp_path / "one.nii.gz").write_text("another patient")
    with pytest.raises(InputError, match="one was another scan when this was begun"):
        claim(scoring(tmp_path, "two", "one"))
    claim(scoring(tmp_path, "two"))


def test_a_folder_that_was_begun_with_other_samples_or_steps_is_refused_by_their_names(tmp_path):
    claim(scoring(tmp_path))
    for settings, named in ((Settings(steps=7), "steps"), (Settings(samples=3, seed=1), "samples, seed")):
        with pytest.raises(InputError, match=f"begun with another {named}; expected another folder"):
            claim(scoring(tmp_path, settings=settings))
    claim(scoring(tmp_path))


def test_a_folder_of_before_scans_were_known_goes_on(tmp_path):
    (tmp_path / "one.nii.gz").write_text("one")
    claim(scoring(tmp_path, "one"))
    path = tmp_path / "out" / SETTINGS
    begun = json.loads(path.read_text())
    path.write_text(json.dumps({name: each for name, each in begun.items() if name != "scans"}))
    claim(scoring(tmp_path, "one"))
    assert json.loads(path.read_text()) == begun


@pytest.mark.parametrize("text", ["{", "[]", '{"scans": 1}', "\u00e4"])
def test_a_settings_file_that_is_none_is_refused_in_a_line_and_stays(text, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / SETTINGS).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=SETTINGS):
        claim(scoring(tmp_path))
    assert (tmp_path / "out" / SETTINGS).read_text(encoding="latin-1") == text


@pytest.mark.parametrize("text", ["{}", "[1]"])
def test_measurements_that_are_none_are_refused_in_a_line(text, tmp_path):
    (tmp_path / "one.json").write_text(text)
    with pytest.raises(InputError, match="expected a list of measurements"):
        _kept(tmp_path / "one.json")


@pytest.mark.parametrize(
    ("seen", "more", "said"),
    [(False, ["--cross"], "1 of 1 patients are new to the model; expected two"), (True, [], "0 of 1 patients are new")],
)
def test_numbers_of_too_few_patients_are_refused_before_any(
    seen, more, said, small_model, films, tmp_path, capsys, monkeypatch
):
    scan = ScanFile("ct", "chests", films / "ct.nii.gz", seen)
    monkeypatch.setattr("clsdm_bench.numbers.run.find_scans", lambda *_: [scan])
    out = ["--cases", str(films), "--out", str(tmp_path / "out")]
    assert main(["numbers", "--bundle", str(small_model.path), *out, *more]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "numbers.md").exists()


def test_a_table_of_other_steps_than_a_models_own_is_not_published(tmp_path, capsys):
    page = tmp_path / "numbers.md"
    page.write_text("as it was", encoding="utf-8")
    call = ["score", "--bundle", "openkbp64", "--cases", "none", "--out", str(tmp_path / "out"), "--steps", "7"]
    assert main([*call, "--publish", str(page)]) == 2
    assert "expected no --steps beside it" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == "as it was"
    assert not (tmp_path / "out").exists()


def test_samples_that_no_reconstruction_can_take_are_refused_before_a_folder_is_begun():
    with pytest.raises(InputError, match="steps: expected 1 to 1000, got 0"):
        Settings(steps=0)
