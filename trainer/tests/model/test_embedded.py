"""The models that come with the program: named in one place, the default first, taken by their names."""

import json
import shutil
from pathlib import Path

import pytest
from one_line import refusal
from places import REPOSITORY
from small_bundle import edited, random_weights, reconstruct_command, run, small_bundle

from clsdm.model import bundle_files
from clsdm.model.bundle import CARD, Bundle, bundle_path, embedded_bundles, write_calibrated
from clsdm.model.bundle_files import INDEX, MODELS
from clsdm_bench.numbers.calibrate import table_of

MOST_BYTES = 40_000_000


@pytest.mark.parametrize("name", embedded_bundles())
def test_each_embedded_model_is_whole_and_small_and_says_what_it_is_for(name):
    bundle = Bundle.open(name)
    bundle.model()
    assert bundle.manifest.id == name
    assert bundle.manifest.trained_anatomy
    assert sum(each.bytes for each in bundle.files.values()) < MOST_BYTES
    assert "Not a medical device" in bundle.manifest.notice
    assert "Not a medical device" in bundle.read(CARD).decode("utf-8")


def test_the_index_names_every_model_that_is_there():
    assert {path.parent.name for path in (REPOSITORY / MODELS).glob("*/bundle.json")} == set(embedded_bundles())


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of an installation with two embedded models, of which the second in the alphabet is the default."""
    folder = tmp_path / "installed" / MODELS
    for seed, name in enumerate(("trunk", "head")):
        bundle = small_bundle(tmp_path / name, weights=random_weights(seed=seed))
        bundle = write_calibrated(bundle.path, bundle, table_of([], [], bundle.hash, "a command"))
        edited(bundle, folder / name, id=name, trained_anatomy=f"a {name}")
    (folder / INDEX).write_text(json.dumps({"models": ["trunk", "head"]}), encoding="utf-8")
    monkeypatch.setattr(bundle_files, "__file__", str(tmp_path / "installed" / "clsdm" / "model" / "bundle_files.py"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def test_the_index_says_which_is_the_default_and_a_name_means_the_embedded_one(models):
    assert bundle_path() == models / "trunk"
    assert bundle_path("head") == bundle_path(Path("head")) == models / "head"
    assert Bundle.open().manifest.id == "trunk"
    Path("head").mkdir()  # of a training, for example
    assert bundle_path("head") == models / "head"
    edited(Bundle.open(), Path("trunk"), id="mine")
    assert Bundle.open("trunk").manifest.id == "mine"


def test_what_is_neither_a_file_nor_a_name_is_refused_with_the_names(models):
    assert "trunk, head" in refusal(Bundle.open, "chest")
    (models / INDEX).write_text('{"models": ["../trunk"]}')
    assert INDEX in refusal(Bundle.open)
    (models / INDEX).unlink()
    assert "no bundle is embedded" in refusal(Bundle.open)


@pytest.mark.parametrize(
    ("program", "has"),
    [
        ("clsdm", "clsdm"),  # a wheel
        ("qt-scripted-modules/clsdm", "qt-scripted-modules"),  # Slicer
        ("checkout/trainer/src/clsdm", "checkout"),
        ("clsdm", None),
        ("lib/site-packages/clsdm", "."),
        ("lib/site-packages/clsdm", "lib"),
        ("a/checkout/trainer/src/clsdm", "a"),
    ],
)
def test_models_are_the_programs_own_never_those_of_a_folder_around_it(program, has, models, tmp_path, monkeypatch):
    monkeypatch.setattr(bundle_files, "__file__", str(tmp_path / "there" / program / "model" / "bundle_files.py"))
    if has is not None:
        shutil.copytree(models, tmp_path / "there" / has / MODELS)
    own = has is not None and program in (has, f"{has}/clsdm", f"{has}/trainer/src/clsdm")
    assert list(embedded_bundles()) == (["trunk", "head"] if own else [])


def test_the_list_shows_anatomy_and_grid_of_each_and_which_is_the_default(models, capfd):
    code, out, _ = run(capfd, "bundle", "list")
    assert code == 0
    assert out.splitlines() == ["trunk (default): 16³ voxels of 24 mm; a trunk", "head: 16³ voxels of 24 mm; a head"]
    code, out, _ = run(capfd, "bundle", "list", "--json")
    assert [each["id"] for each in json.loads(out.splitlines()[-1])["result"]["bundles"]] == ["trunk", "head"]
    assert run(capfd, "bundle", "list", "head")[0] == 2


def test_a_name_in_the_index_that_is_no_model_is_named_and_the_rest_is_listed(models, capfd):
    (models / INDEX).write_text('{"models": ["gone", "head"]}')
    code, out, err = run(capfd, "bundle", "list")
    assert (code, out.splitlines()) == (0, ["head: 16³ voxels of 24 mm; a head"])
    assert "gone, which the index names, cannot be used" in err
    _, out, _ = run(capfd, "bundle", "list", "--json")
    assert list(json.loads(out.splitlines()[-1])["result"]["unusable"]) == ["gone"]


def test_a_name_that_the_index_has_twice_is_refused(models, capfd):
    (models / INDEX).write_text('{"models": ["head", "trunk", "head"]}')
    code, _, err = run(capfd, "bundle", "list")
    assert code == 2
    assert "found twice: head" in err


def test_a_list_of_no_model_says_so(models, capfd):
    (models / INDEX).unlink()
    assert "No model is embedded" in run(capfd, "bundle", "list")[1]


def test_a_volume_of_any_embedded_model_is_measured_with_its_own_table(models, films, tmp_path, capfd):
    command = reconstruct_command(films, Bundle.open(), tmp_path / "r.nii.gz")
    command[command.index("--bundle") + 1] = "head"
    assert run(capfd, *command)[0] == 0
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert record["provenance"]["model"] == "head"
    (tmp_path / "r.json").write_text(json.dumps(record | {"measures": None}), encoding="utf-8")
    for names, calibrated in ((["trunk", "head"], True), (["trunk"], False)):
        (models / INDEX).write_text(json.dumps({"models": names}), encoding="utf-8")
        _code, out, _ = run(capfd, "measure", tmp_path / "r.nii.gz", "--json")
        assert json.loads(out.splitlines()[-1])["result"]["measures"]["calibrated"] is calibrated
