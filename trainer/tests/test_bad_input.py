"""Whatever is handed in: one clear line, exit code 2, and nothing left behind."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the usual name
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import HEVCMP51, CTImageStorage
from small_bundle import CENTRE_MM, PIXELS, reconstruct_command, run, small_phantom, small_xrays
from xray_files import write_dicom, write_picture

from clsdm.files.dicom import save_dicom
from clsdm.model.bundle import WEIGHTS
from clsdm.simulate import write_dx
from clsdm.volume.write import write_ct

NOISE = np.random.default_rng(0).integers(0, 4000, (PIXELS, PIXELS)).astype(np.uint16)


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too, with its content."""
    return sorted(
        f"{path.relative_to(folder)} {hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else 'folder'}"
        for path in folder.rglob("*")
    )


def refused(capfd: pytest.CaptureFixture[str], folder: Path, *arguments: str | Path) -> str:
    """The one line on standard error of a call that exits with 2 and changes nothing in ``folder``."""
    before = listing(folder)
    code, out, err = run(capfd, *arguments)
    assert code == 2, err
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("clsdm: ")
    assert listing(folder) == before
    return err


# X-rays


def text(path: Path) -> None:
    path.write_text("not an image")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated_pixels(path: Path) -> None:
    write_dicom(path)
    path.write_bytes(path.read_bytes()[:-2000])


def truncated_header(path: Path) -> None:
    write_dicom(path)
    path.write_bytes(path.read_bytes()[:300])


def compressed_unsupported(path: Path) -> None:
    dataset = dcmread(write_dicom(path))
    dataset.file_meta.TransferSyntaxUID = HEVCMP51
    dataset.PixelData = encapsulate([b"\0\0\0\1" + NOISE.tobytes()[:1000]])
    dataset["PixelData"].is_undefined_length = True
    save_dicom(dataset, path)


def of_another_patient(path: Path) -> None:
    (xray,) = small_xrays(small_phantom(CENTRE_MM), (0.0,), CENTRE_MM)
    write_dx(xray, path, patient_key="another")


def around_another_isocentre(path: Path) -> None:
    (xray,) = small_xrays(small_phantom(CENTRE_MM), (0.0,), CENTRE_MM)
    write_dx(replace(xray, isocentre_mm=(0.0, 0.0, 0.0)), path)


def coloured_dicom(path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (PIXELS, PIXELS, 3), dtype=np.uint8)
    write_dicom(path, pixels, SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)


def volume(path: Path) -> None:
    write_ct(small_phantom(), path)


def nan(path: Path) -> None:
    image = sitk.GetImageFromArray(np.where(NOISE > 2000, np.nan, NOISE).astype(np.float32))
    image.SetSpacing((6.0, 6.0))
    sitk.WriteImage(image, str(path))


def picture(pixels: np.ndarray) -> Callable[[Path], object]:
    return lambda path: write_picture(path, pixels)


def dicom(**tags: object) -> Callable[[Path], object]:
    return lambda path: write_dicom(path, **tags)


FILMS: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "not an image": ("x.png", text, ["not an image"]),
    "not a DICOM file": ("x.dcm", text, ["not a DICOM file"]),
    "an empty file": ("x.png", empty, ["not an image"]),
    "an empty DICOM": ("x.dcm", empty, ["not a DICOM file"]),
    "truncated header": ("x.dcm", truncated_header, ["no PixelData"]),
    "a compression nobody decodes": ("x.dcm", compressed_unsupported, ["TransferSyntaxUID", "HEVC", "decoded"]),
    "a picture without spacing": ("x.png", picture(NOISE), ["--spacing"]),
    "two patients": ("x.dcm", of_another_patient, ["two patients", "lateral.dcm"]),
    "two isocentres": ("x.dcm", around_another_isocentre, ["isocentres differ", "lateral.dcm"]),
    "a colour DICOM": ("x.dcm", dicom(PhotometricInterpretation="YBR_FULL"), ["colour", "MONOCHROME1"]),
    "three colours in DICOM": ("x.dcm", coloured_dicom, ["colour image"]),
    "a text called NIfTI": ("x.nii.gz", text, ["not an image"]),
    "a constant image": ("x.mha", picture(np.full_like(NOISE, 7)), ["constant", "7"]),
    "a tiny image": ("x.mha", picture(NOISE[:9, :9]), ["64x64", "81"]),
    "a NaN image": ("x.mha", nan, ["NaN"]),
    "a NaN NIfTI": ("x.nii.gz", nan, ["NaN"]),
    "a CT volume": ("x.nii.gz", volume, ["CT in place of an X-ray", "32x32x32"]),
    "a CT slice": ("x.dcm", dicom(Modality="CT", SOPClassUID=CTImageStorage), ["CT in place of an X-ray"]),
    "a missing file": ("x.dcm", lambda path: None, ["no such file"]),
    "a folder": ("x.dcm", Path.mkdir, ["a folder, expected one X-ray image"]),
    "no pixels": ("x.dcm", dicom(Rows=None), ["no image"]),
    "an impossible distance": ("x.dcm", dicom(DistanceSourceToPatient=-5.0), ["DistanceSourceToPatient is -5 mm"]),
    "an impossible spacing": ("x.dcm", dicom(ImagerPixelSpacing=[-1.0, 2.0]), ["spacing"]),
}


@pytest.mark.parametrize("case", FILMS)
def test_an_x_ray_that_cannot_be_used_is_refused(case, capfd, films, small_model, tmp_path):
    name, make, said = FILMS[case]
    make(tmp_path / name)
    command = reconstruct_command(films, small_model, tmp_path / "out" / "r.nii.gz")
    command[command.index("--frontal") + 1] = str(tmp_path / name)
    line = refused(capfd, tmp_path, *command)
    assert str(tmp_path / name) in line
    assert all(part in line for part in said), line
    assert not any(private in line for private in ("SECRET", "Doe")), "what the file says of the patient"


def test_a_spacing_given_for_the_picture_without_one_is_enough(capfd, films, small_model, tmp_path):
    write_picture(tmp_path / "x.png", NOISE)
    command = reconstruct_command(films, small_model, tmp_path / "r.nii.gz", "--spacing", "6.0")
    command[command.index("--frontal") + 1] = str(tmp_path / "x.png")
    assert run(capfd, *command)[0] == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--spacing", "-1"], "spacing is -1 mm; expected 0.01 to 12 mm; in mm?"),
        (["--spacing", "nan"], "spacing is nan mm; expected 0.01 to 12 mm"),
        (["--spacing", "1", "2", "3"], "--spacing: expected one or two"),
        (["--source-axis", "3000"], "source-axis < source-detector"),
        (["--steps", "0"], "steps: expected 1 to 1000"),
        (["--seed", "-1"], "seed"),
        (["--product", "ensemble", "--samples", "1"], "samples"),
        (["--view", "x.dcm"], "expected FILE:ANGLE"),
        (["--view", "nowhere.dcm:45"], "nowhere.dcm: no such file"),
        ([arg for k in range(7) for arg in ("--view", f"COPY{k}:{10 * k}")], "expected 1 to 8, got 9"),
        (["--out", "r.png"], "r.png: expected a name ending in .nii.gz"),
        (["--bundle", "nowhere"], "nowhere: no such bundle"),
    ],
)
def test_an_option_that_cannot_be_is_refused(more, said, capfd, films, small_model, tmp_path, tmp_path_factory):
    copies = tmp_path_factory.mktemp("copies")
    for each in more:
        if each.startswith("COPY"):
            name = each.partition(":")[0]
            write_dicom(copies / name, InstanceNumber=name.removeprefix("COPY"))  # each another file
    more = [each.replace("COPY", str(copies / "COPY")) for each in more]
    assert said in refused(capfd, tmp_path, *reconstruct_command(films, small_model, tmp_path / "r.nii.gz", *more))


def test_no_x_ray_and_no_output_are_refused(capfd, films, small_model, tmp_path):
    assert "--frontal" in refused(capfd, tmp_path, "reconstruct", "--out", tmp_path / "r.nii.gz")
    assert "--out" in refused(capfd, tmp_path, "reconstruct", "--frontal", films / "frontal.dcm")


def test_a_place_where_nothing_can_be_written_is_refused(capfd, films, small_model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    line = refused(capfd, tmp_path, *reconstruct_command(films, small_model, tmp_path / "file" / "r.nii.gz"))
    assert "cannot be written" in line
    for command in (("project",), ("compare", films / "ct.nii.gz")):
        line = refused(capfd, tmp_path, *command, films / "ct.nii.gz", "--out", tmp_path / "file")
        assert "cannot be written" in line
    (tmp_path / "r.nii.gz").mkdir()
    line = refused(capfd, tmp_path, *reconstruct_command(films, small_model, tmp_path / "r.nii.gz"))
    assert "cannot be written" in line


def test_a_request_with_an_unknown_field_is_refused(capfd, tmp_path):
    (tmp_path / "q.json").write_text(json.dumps({"views": [{"file": "a"}], "out": "r.nii", "colour": 1}))
    before = listing(tmp_path)
    code, out, err = run(capfd, "reconstruct", tmp_path / "q.json")
    assert code == 2
    assert json.loads(out) == {"error": err.removeprefix("clsdm: ").strip(), "kind": "input"}
    assert "q.json.colour: unknown field" in err
    assert err.count("\n") == 1
    assert listing(tmp_path) == before


# Bundles


def test_a_bundle_that_is_not_as_it_was_made_is_refused(capfd, films, small_model, tmp_path):
    shutil.copytree(small_model.path, tmp_path / "b")
    data = (tmp_path / "b" / WEIGHTS).read_bytes()
    (tmp_path / "b" / WEIGHTS).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    command = reconstruct_command(films, small_model, tmp_path / "out" / "r.nii.gz")
    command[command.index("--bundle") + 1] = str(tmp_path / "b")
    for arguments in (command, ["bundle", "verify", str(tmp_path / "b")]):
        line = refused(capfd, tmp_path, *arguments)
        assert all(part in line for part in (str(tmp_path / "b"), WEIGHTS, "SHA-256")), line


# CTs


def sheared(path: Path) -> None:
    write_ct(small_phantom(), path)
    content = path.read_bytes()
    changed = content.replace(b"TransformMatrix = 1 0 0 0 1 0 0 0 1", b"TransformMatrix = 1 0 0 .5 1 0 0 0 1")
    assert changed != content
    path.write_bytes(changed)


CTS: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a wrong orientation matrix": ("ct.mha", sheared, "orientation matrix"),
    "not an image": ("ct.nii.gz", text, "damaged volume file"),
    "an empty file": ("ct.nii.gz", empty, "not a NIfTI file"),
    "a missing file": ("ct.nii.gz", lambda path: None, "no such file"),
    "an empty folder": ("ct", Path.mkdir, "expected one DICOM series, found 0"),
    "an X-ray": ("ct.dcm", lambda path: write_dicom(path), "CT volume"),
}


@pytest.mark.parametrize("case", CTS)
@pytest.mark.parametrize("command", ["project", "compare"])
def test_a_ct_that_cannot_be_used_is_refused(case, command, capfd, films, tmp_path):
    name, make, said = CTS[case]
    make(tmp_path / name)
    reconstruction = [films / "ct.nii.gz"] if command == "compare" else []
    line = refused(capfd, tmp_path, command, *reconstruction, tmp_path / name, "--out", tmp_path / "out")
    assert str(tmp_path / name) in line
    assert said in line, line


def test_a_comparison_with_nothing_is_refused(capfd, films, tmp_path):
    line = refused(capfd, tmp_path, "compare", films / "ct.nii.gz", "--out", tmp_path / "out")
    assert "nothing to compare with" in line
    write_ct(small_phantom((5000.0, 0.0, 0.0)), tmp_path / "far.nii.gz")
    arguments = ("compare", films / "ct.nii.gz", tmp_path / "far.nii.gz", "--out", tmp_path / "out")
    assert "does not overlap" in refused(capfd, tmp_path, *arguments)


# Processes of their own: what the libraries' C code says, too


def in_a_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, with one thread."""
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=300, env=env
    )


def test_a_process_says_one_line_and_exits_with_2(films, small_model, tmp_path):
    truncated_pixels(tmp_path / "x.dcm")
    command = reconstruct_command(films, small_model, tmp_path / "out" / "r.nii.gz")
    command[command.index("--lateral") + 1] = str(tmp_path / "x.dcm")
    done = in_a_process("-m", "clsdm", *command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "x.dcm" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["x.dcm"]


# Argument 1: JSON list of [limit in bytes, arguments of clsdm, or a folder to write a bundle to]. A file may not grow
# beyond the limit, so writing fails with EFBIG just as a full disk makes it fail with ENOSPC.
FULL_DISK = """
import json, resource, sys
from pathlib import Path

sys.path.insert(0, sys.argv[2])
from small_bundle import small_bundle
from clsdm.app.cli import main
from clsdm.errors import InputError

codes = []
for limit, arguments in json.loads(sys.argv[1]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    if isinstance(arguments, list):
        codes.append(main(arguments))
        continue
    try:
        small_bundle(Path(arguments))
        codes.append(0)
    except InputError as error:
        print(error, file=sys.stderr)
        codes.append(2)
print(json.dumps(codes))
"""


@pytest.mark.skipif(os.name == "nt", reason="needs RLIMIT_FSIZE")
def test_a_full_disk_is_said_and_leaves_nothing_half_written(capfd, films, small_model, tmp_path):
    (tmp_path / "ready").mkdir()
    assert run(capfd, *reconstruct_command(films, small_model, tmp_path / "ready" / "r.nii.gz"))[0] == 0

    def reconstruct(name: str, *more: str) -> list[str]:
        return reconstruct_command(films, small_model, tmp_path / name, "--quiet", *more)

    ensemble = ("--product", "ensemble", "--samples", "2")
    isocentre = [str(value) for value in CENTRE_MM]
    project = ["project", str(films / "ct.nii.gz"), "--preset", "x2ct", "--isocentre", *isocentre, "--quiet"]
    project += ["--out", str(tmp_path / "project" / "new")]
    compare = ["compare", str(tmp_path / "ready" / "r.nii.gz"), "--quiet", "--out", str(tmp_path / "compare")]
    fails = [
        *((600, reconstruct(f"r{suffix}")) for suffix in (".nii.gz", ".nii", ".nrrd", ".mha")),
        (100_000, project),
        (5_000, compare),  # metrics.json fits, the picture does not
        (0, str(tmp_path / "none" / "bundle")),
        (20_000, str(tmp_path / "some" / "bundle")),
    ]
    either = [(limit, reconstruct(f"{limit}.nii.gz", *ensemble)) for limit in (1500, 3000, 5000, 6500, 8000)]
    cases = [*fails, *either]
    done = in_a_process("-c", FULL_DISK, json.dumps(cases), str(Path(__file__).parent))
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    assert codes[: len(fails)] == [2] * len(fails)
    assert codes[len(fails)] == 2
    refusals = [line for line in done.stderr.splitlines() if not line.startswith("note: ")]
    assert len(refusals) == codes.count(2), done.stderr
    assert all(str(tmp_path) in line and ".clsdm-" not in line for line in refusals), done.stderr
    whole = [limit for (limit, _), code in zip(either, codes[len(fails) :], strict=True) if code == 0]
    ends = (".nii.gz", "_coverage.nii.gz", "_spread.nii.gz", ".json")
    assert {path.name for path in tmp_path.iterdir()} == {"ready"} | {
        f"{limit}{end}" for limit in whole for end in ends
    }
