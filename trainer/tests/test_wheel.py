"""What `pip install` of a built wheel gives: a program that works anywhere, with the model that belongs to it."""

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from places import REPOSITORY

from clsdm.model.bundle_files import MODELS

pytest.importorskip("hatchling")
BUILD = "import sys; from hatchling import build; print(getattr(build, 'build_' + sys.argv[1])(sys.argv[2]))"
INSIDE = f"clsdm/{MODELS}"


def called(*command: str | Path, folder: Path) -> str:
    """Standard output of a program that knows nothing of this source tree."""
    known = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def built(kind: str, source: Path, out: Path) -> Path:
    """A wheel or sdist of a source tree, made as pip makes it."""
    return out / called(sys.executable, "-c", BUILD, kind, out, folder=source).strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built("wheel", REPOSITORY / "trainer", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment's folder of programs: the wheel with its extra ``cli``, and the libraries that are here."""
    folder = tmp_path_factory.mktemp("environment")
    called(sys.executable, "-m", "venv", "--without-pip", folder, folder=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")  # whose own .pth files then do not count
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-index")
    called(*pip, "--no-deps", "--ignore-installed", wheel, folder=folder)
    called(*pip, "clsdm[cli]", folder=folder)  # whether all that it asks for is there
    return folder / "bin"


def names_in(path: Path) -> list[str]:
    if path.suffix == ".whl":
        return zipfile.ZipFile(path).namelist()
    with tarfile.open(path) as archive:
        return archive.getnames()


@pytest.mark.slow
def test_a_wheel_and_a_wheel_of_the_source_archive_hold_the_model_once_and_the_same(wheel: Path, tmp_path: Path):
    archive = built("sdist", REPOSITORY / "trainer", tmp_path)
    with tarfile.open(archive) as content:
        content.extractall(tmp_path, filter="data")
    again = built("wheel", tmp_path / archive.name.removesuffix(".tar.gz"), tmp_path)
    models = [name for name in names_in(wheel) if name.startswith(INSIDE)]
    there = [path for path in (REPOSITORY / MODELS).rglob("*") if path.is_file()]
    expected = [f"{INSIDE}/{path.relative_to(REPOSITORY / MODELS).as_posix()}" for path in there]
    assert sorted(models) == sorted(expected)
    assert sorted(names_in(wheel)) == sorted(names_in(again))


@pytest.mark.slow
def test_an_installed_wheel_reconstructs_from_any_folder_with_the_model_it_brought(installed, films, tmp_path):
    described = called(installed / "clsdm", "bundle", "verify", folder=tmp_path)
    assert str(installed.parent) in described
    views = ("--frontal", films / "frontal.dcm", "--lateral", films / "lateral.dcm")
    called(installed / "clsdm", "reconstruct", *views, "--out", "r.nii.gz", folder=tmp_path)
    assert (tmp_path / "r.nii.gz").stat().st_size > 10_000
