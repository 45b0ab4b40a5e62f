"""Every answer of the page for users, run as it stands; trainings at the smallest size."""

import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ct_series import edit, write_series
from PIL import Image
from places import REPOSITORY
from small_bundle import CENTRE_MM, small_bundle, small_phantom
from tiny import phantom_hu, tiny_config, tiny_store

from clsdm.app.cli import main as clsdm
from clsdm.geometry.view import PRESETS
from clsdm.simulate import simulate_xrays, write_dx
from clsdm.volume.ct import CTVolume, Grid
from clsdm.volume.write import write_ct
from clsdm_trainer.checks import check_networks
from clsdm_trainer.cli import main as train
from clsdm_trainer.recipe import RunConfig, changed, load_config, save_config
from clsdm_trainer.stages import STAGES

PAGE = (REPOSITORY / "trainer" / "docs" / "howto.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
FINER = "Another resolution, for example 256³"
IN_HELP = {
    "My radiographs know no pixel spacing": ("--spacing", "--frontal-spacing", "--flip", "--invert"),
    "The volume explains its X-rays only roughly": ("--consistency", "--refine"),
    "I have one view only": ("one to eight X-rays",),
    "My machine has other distances": ("--preset", "--source-detector", "--lateral-source-axis", "--view", "--refine"),
    "My folder holds several series, my file several frames": ("--series", "--frame", "--localizers"),
    "A whole folder of patients": ("--table", "--studies", "torchrun"),
    "It was interrupted": ("the same again goes on",),
    "It runs out of memory": ("--at-once", "least memory", "--device"),
    FINER: ("--bundle", "its grid is the volume's"),
    "Fine-tune on own scans": ("--bundle",),
    "From Python": ("import clsdm",),
    "DICOM for a PACS": ("--dicom", "--keep-patient"),
    "Out of a PACS and into it": ("clsdm pacs",),
    "One computer with a GPU, several Slicers": ("clsdm serve --listen",),
    "ONNX, for another engine": ("clsdm bundle export",),
    "Segment the result": ("(HU)",),
}
"""What ``clsdm reconstruct --help`` says about each question."""
ABOUT = {"licence": "none", "anatomy": "ellipsoids", "data": "made by a test", "recipe": "this test", "remarks": "-"}


@pytest.fixture(scope="module", autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, small_default: None) -> Iterator[Path]:
    """The current folder, with all that the page names."""
    folder, before = tmp_path_factory.mktemp("howto"), Path.cwd()
    os.chdir(folder)
    _films(folder)
    _scans(folder)
    yield folder
    os.chdir(before)


@pytest.fixture(scope="module")
def pacs(place: Path) -> Iterator[None]:
    """Where ``$PACS`` is, with a study."""
    orthanc = importlib.import_module("orthanc")
    if orthanc.MISSING:
        pytest.skip(orthanc.MISSING)
    with pytest.MonkeyPatch.context() as patch, orthanc.orthanc(place / "orthanc") as server:
        for name, value in {"PACS": server.url, **orthanc.ALICE}.items():
            patch.setenv(name, value)
        orthanc.put_study(place, server, ("pa", "lateral"), AccessionNumber="4711")
        yield


def _films(folder: Path) -> None:
    ct = small_phantom(CENTRE_MM)
    views = [PRESETS["chest"].view(angle, 96) for angle in (0.0, 90.0, 45.0)]
    for name, xray in zip(("pa", "lateral", "oblique"), simulate_xrays(ct, views, CENTRE_MM), strict=True):
        write_dx(xray, folder / f"{name}.dcm")
        grey = np.interp(xray.image, (xray.image.min(), xray.image.max()), (0, 255)).astype(np.uint8)
        Image.fromarray(grey).resize((2560, 2560)).save(folder / f"{name}.png")
    pages = [Image.open(folder / f"{name}.png") for name in ("lateral", "pa")]
    pages[0].save(folder / "pages.tif", save_all=True, append_images=pages[1:])
    for number in (3, 4):
        write_series(folder / "ct_folder" / f"scan{number}", ct, SeriesNumber=number)
    write_ct(ct, folder / "ct.nii.gz")
    assert _called("clsdm project ct.nii.gz --preset localizer --angles 180 -90 --out ct_folder/scouts") == 0
    for name in ("pa", "lateral"):
        (folder / "dicom_tree" / name).mkdir(parents=True)
        edit(Path(shutil.copy(f"{name}.dcm", f"dicom_tree/{name}/IM1")), StudyInstanceUID="1.2.3", PatientID="somebody")
    (folder / "patients.csv").write_text(_block("csv", "A whole folder of patients"), encoding="utf-8")


def _scans(folder: Path) -> None:
    """A store, scans to prepare, and the two recipes at the smallest size."""
    tiny_store(folder / "STORE")
    (folder / "about.yaml").write_text(yaml.safe_dump(ABOUT), encoding="utf-8")
    random = np.random.default_rng(3)
    for name in ("p1", "p2", "p3"):
        hu = phantom_hu(random, Grid(32, 12.0)).astype(np.float32)
        write_ct(CTVolume.on_grid(hu, Grid(32, 12.0)), folder / "scans" / f"{name}.nii.gz")
    splits = {"train": ["p1"], "val": ["p2"], "test": ["p3"]}
    (folder / "scans" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    own = changed(tiny_config(steps=2), {"autoencoder": {"batch": 1, "accumulate": 2}})
    save_config(own, folder / "mine.yaml")
    small_bundle(folder / "BUNDLE", own.model)
    stage = {"steps": 1, "precision": "32-true"}
    small: dict[str, Any] = {"grid": {"size": 32, "spacing_mm": 12.0}, "detector": {"size": 40}}
    small |= {"autoencoder": {"channels": [8, 8, 8]}, "denoiser": {"patch": 1, "channels": [8, 8], "head_width": 8}}
    small["condition"] = {"image_channels": [8, 8, 8], "channels": [8, 8, 8, 8]}
    save_config(changed(_finer(folder), {"model": small, **dict.fromkeys(STAGES, stage)}), folder / "body256.yaml")


def _finer(folder: Path) -> RunConfig:
    (folder / "as_printed.yaml").write_text(_block("yaml", FINER), encoding="utf-8")
    return load_config(str(folder / "as_printed.yaml"))


def _block(kind: str, section: str) -> str:
    (text,) = re.findall(rf"```{kind}\n(.*?)```", SECTIONS[section], re.DOTALL)
    return text


def _called(line: str) -> int:
    """Run a line of a shell block; returns the exit code."""
    program, *words = shlex.split(os.path.expandvars(line))
    if words[0] == "serve":  # goes on until it is told to stop
        with subprocess.Popen([sys.executable, "-m", program, *words], stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            listens = b"https://" in server.stdout.readline()
            server.terminate()
        return 0 if listens else 1
    if program == "openssl":
        return subprocess.run([program, *words], check=False, capture_output=True).returncode
    if program == "clsdm":
        return clsdm([*words, "--quiet"])
    if program == "clsdm-train":
        return train(words)
    if program == "torchrun":
        return subprocess.run([sys.executable, "-m", "torch.distributed.run", *words], check=False).returncode
    assert program == "sbatch", line
    first, last = (int(end) for end in words[0].removeprefix("--array=").split("-"))
    with pytest.MonkeyPatch.context() as patch:  # as SLURM starts each task
        for number in range(first, last + 1):
            patch.setenv("SLURM_ARRAY_TASK_ID", str(number))
            patch.setenv("SLURM_ARRAY_TASK_COUNT", str(last - first + 1))
            assert _called(words[-1]) == 0
    return 0


@pytest.mark.slow
@pytest.mark.parametrize("question", SECTIONS)
def test_the_answer_runs_as_it_stands(question: str, request: pytest.FixtureRequest):
    if "$PACS" in SECTIONS[question]:
        request.getfixturevalue("pacs")
    blocks = re.findall(r"```(sh|python)\n(.*?)```", SECTIONS[question], re.DOTALL)
    assert blocks
    for kind, text in blocks:
        if kind == "python":
            exec(text, {})
            continue
        for line in text.strip().splitlines():
            assert _called(line) == (3 if line.endswith("--minutes 0") else 0), line


@pytest.mark.parametrize("question", SECTIONS)
def test_the_help_says_it_too(question: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        clsdm(["reconstruct", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert [words for words in IN_HELP[question] if words not in shown] == []


def test_the_recipe_as_printed_fits_together_at_its_full_size(place: Path):
    config = _finer(place)
    assert config.model.grid == Grid(256, 1.5)
    for stage in STAGES.values():
        check_networks(config, stage)


@pytest.mark.slow  # what the answers above left
def test_results_are_what_the_page_says(place: Path):
    assert {path.name for path in (place / "results").iterdir()} >= {"anna", "bert", "index.html", "summary.csv"}
    assert (place / "lungs.nii.gz").is_file()
