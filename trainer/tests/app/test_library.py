"""``import clsdm`` in a few lines: as documented, and the same as the command line."""

import doctest
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import REPOSITORY
from small_bundle import reconstruct_command, run

import clsdm
from clsdm.app.warm import WARM
from clsdm.app.words import in_python
from clsdm.model.bundle import Bundle

PAGE = REPOSITORY / "trainer" / "docs" / "api.md"


@pytest.fixture
def at_films(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: two films, around the origin."""
    for name, to in (("frontal.dcm", "pa.dcm"), ("lateral.dcm", "lateral.dcm")):
        shutil.copy(films / name, tmp_path / to)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_about_python_runs_as_it_stands(at_films: Path):
    failed, tried = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.ELLIPSIS)
    assert (failed, tried > 20) == (0, True)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(block, {})


def test_python_and_the_command_line_write_the_same(films: Path, small_model: Bundle, tmp_path: Path, capfd):
    out = tmp_path / "r.nii.gz"
    code, _, error = run(capfd, *reconstruct_command(films, small_model, out, "--product", "sample", "--steps", "2"))
    assert code == 0, error
    made = clsdm.reconstruct(films / "frontal.dcm", films / "lateral.dcm", bundle=small_model.path, product="sample",
                             steps=2, device="cpu")  # fmt: skip
    files = made.save(tmp_path / "python" / "r.nii.gz")
    records = [json.loads(path.read_text(encoding="utf-8")) for path in (tmp_path / "r.json", Path(files["record"]))]
    assert records[0] == records[1]


def test_a_result_does_not_overwrite_its_x_rays_nor_what_is_not_ours(films: Path, small_model: Bundle, tmp_path: Path):
    made = clsdm.reconstruct(films / "frontal.dcm", bundle=small_model.path, device="cpu")
    (tmp_path / "reconstruction.json").write_text("{}")
    with pytest.raises(clsdm.InputError, match="no record of a reconstruction"):
        made.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["reconstruction.json"]
    shutil.copy(films / "ct.nii.gz", tmp_path / "myct.nii.gz")
    with pytest.raises(clsdm.InputError, match=r"myct\.nii\.gz: is there and is not of an earlier reconstruction"):
        made.save(tmp_path / "myct.nii.gz")
    assert (tmp_path / "myct.nii.gz").read_bytes() == (films / "ct.nii.gz").read_bytes()


@pytest.mark.parametrize(
    "image", [np.zeros((80, 80)), np.full((80, 80), np.nan), np.ones((4, 4)), np.ones((80, 80, 3))]
)
def test_an_array_that_is_no_x_ray_is_refused(image: np.ndarray):
    with pytest.raises(clsdm.InputError, match="X-ray"):
        clsdm.XRay.from_array(image, 0.0, 0.4)


def test_what_is_no_film_is_refused_and_a_result_is_shown_without_its_voxels(films: Path, small_model: Bundle):
    with pytest.raises(clsdm.InputError, match=r"X-ray: .*XRay.from_array.* got ndarray"):
        clsdm.reconstruct(films / "frontal.dcm", np.zeros((80, 80)), bundle=small_model.path, device="cpu")
    assert "array([[[" not in repr(clsdm.reconstruct(films / "frontal.dcm", bundle=small_model.path, device="cpu"))


def test_a_further_film_must_say_from_where_it_was_taken(films: Path, small_model: Bundle, tmp_path: Path):
    Image.fromarray(np.arange(6400, dtype=np.uint16).reshape(80, 80)).save(tmp_path / "oblique.png")
    geometry = clsdm.GeometryOverrides(pixel_mm=6.75)
    with pytest.raises(clsdm.InputError, match=r"oblique.png: .*angle"):
        clsdm.reconstruct(films / "frontal.dcm", None, tmp_path / "oblique.png", geometry=geometry,
                          bundle=small_model.path, device="cpu")  # fmt: skip


def test_the_model_is_loaded_once(films: Path, small_model: Bundle):
    WARM.forget()
    stages: list[str] = []
    for _ in range(2):
        clsdm.reconstruct(films / "frontal.dcm", bundle=small_model.path, device="cpu",
                          report=lambda stage, done, total: stages.append(stage) if done else None)  # fmt: skip
    assert stages.count("load model") == 1


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, clsdm; print({'torch', 'numpy', 'SimpleITK'} & set(sys.modules)); clsdm.reconstruct; clsdm.XRay"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_all_that_the_package_names_is_there():
    for name in clsdm.__all__:
        assert getattr(clsdm, name)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        clsdm.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("give it with --spacing (mm on the detector)", "give it with GeometryOverrides(pixel_mm=...) (mm on the detector)"),
        ("right it with --flip lateral", "right it with GeometryOverrides(flip_horizontal=True) of the lateral one"),
        ("(--invert or --no-invert)", "(GeometryOverrides(invert=True) or GeometryOverrides(invert=False))"),
        ("use --device cpu, --at-once 1", 'use device="cpu", at_once=1'),
        ("give --view FILE:ANGLE otherwise", "give ViewRequest(FILE, angle_deg=ANGLE) otherwise"),
        ("choose one with --series, by its", "choose one with series, by its"),
        ("a -- b", "a -- b"),
    ],
)  # fmt: skip
def test_messages_name_what_python_calls_it(said, read):
    assert in_python(said) == read


def test_what_python_cannot_use_is_said_in_its_words(tmp_path):
    Image.fromarray(np.tile(np.arange(200, dtype=np.uint8), (200, 1))).save(tmp_path / "pa.png")
    for read in (lambda file: clsdm.read_xray(file, 0.0), clsdm.reconstruct):
        with pytest.raises(
            clsdm.InputError, match=r"spacing is unknown; give it with GeometryOverrides\(pixel_mm=...\)"
        ):
            read(tmp_path / "pa.png")
