"""The warm worker: its answers, how it fails, and that it ends with whoever started it."""

import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_bundle import reconstruct_command
from worker_process import LIMIT_S, hear, process, say

from clsdm import reconstruction as core
from clsdm.app import tasks as worker_tasks
from clsdm.app import worker
from clsdm.app.cli import main
from clsdm.app.warm import WARM
from clsdm.errors import InputError
from clsdm.model.bundle import CARD, Bundle
from clsdm.volume.read import read_ct


@pytest.fixture(autouse=True)
def _cold() -> Iterator[None]:
    """No test finds a model another has loaded."""
    WARM.forget()
    yield
    WARM.forget()


def ask(folder: Path, task: str, number: int = 1, **fields: Any) -> list[dict[str, Any]]:
    """All answers to one request, in this process."""
    said: list[dict[str, Any]] = []
    line = json.dumps({"id": number, "task": task, **fields}).encode()
    worker.answer(line, said.append, arrays_in(folder), worker_tasks.TASKS)
    assert all(each["id"] == number for each in said)
    assert all(("stage" in each) is (each is not said[-1]) for each in said)
    return said


def arrays_in(parent: Path) -> worker.ArrayFolders:
    return worker.ArrayFolders(Path(tempfile.mkdtemp(dir=parent, prefix="arrays-")))


def result(folder: Path, task: str, kind: str = "result", **fields: Any) -> dict[str, Any]:
    last = ask(folder, task, **fields)[-1]
    assert kind in last, last
    return last[kind]


error = partial(result, kind="error")


def views(films: Path) -> list[dict[str, str]]:
    return [{"file": str(films / f"{name}.dcm")} for name in ("frontal", "lateral")]


def options(**changes: Any) -> dict[str, Any]:
    return {"device": "cpu", **changes}


@pytest.mark.parametrize("product", ["mean", "sample", "ensemble"])
def test_a_reconstruction_holds_the_same_numbers_as_the_command_lines_file(films, small_model, tmp_path, product):
    more = ["--product", product, "--samples", "2", "--seed", "3"]
    assert main(reconstruct_command(films, small_model, tmp_path / "r.nii.gz", *more, "--quiet")) == 0
    asked = options(product=product, samples=2, seed=3)
    answer = result(tmp_path, "reconstruct", views=views(films), bundle=str(small_model.path), options=asked)
    for name, file in (("volume", "r"), ("coverage", "r_coverage"), ("spread", "r_spread")):
        assert (name in answer) is (name != "spread" or product == "ensemble")
        if name in answer:
            ct = _volume(tmp_path / f"{file}.nii.gz")
            placed = answer[name]
            assert np.array_equal(np.load(placed["array"]), ct[0])
            assert np.allclose(placed["origin_mm"], ct[1])
            assert np.allclose(placed["spacing_mm"], ct[2])
    made = json.loads((tmp_path / "r.json").read_text())
    assert {key: made[key] for key in ("provenance", "residuals")} == {
        key: answer[key] for key in ("provenance", "residuals")
    }
    assert len(made["warnings"]) == len(answer["warnings"])  # without the paths
    assert [np.load(each["input"]).ndim for each in answer["reprojections"]] == [2, 2]


def _volume(path: Path) -> tuple[np.ndarray, tuple[float, ...], tuple[float, ...]]:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), image.GetOrigin(), image.GetSpacing()


def test_the_model_is_loaded_once_for_many_reconstructions(films, small_model, tmp_path):
    def stages() -> list[str]:
        said = ask(tmp_path, "reconstruct", views=views(films), bundle=str(small_model.path), options=options())
        return [each["stage"] for each in said[:-1]]

    first, second = stages(), stages()
    assert "load model" in first
    assert second == [stage for stage in first if stage != "load model"]


def test_the_first_progress_comes_before_anything_is_imported_or_read(tmp_path):
    said = ask(tmp_path, "reconstruct", views=[{"file": "nowhere.dcm"}], options=options())
    assert said[0] == {"id": 1, "stage": "read X-rays", "i": 0, "n": 1}


def test_a_bundle_that_changed_is_verified_again_although_its_model_is_loaded(films, small_model, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(small_model.path, folder)
    asked = {"views": views(films), "bundle": str(folder), "options": options()}
    result(tmp_path, "reconstruct", **asked)
    (folder / CARD).write_text("altered")
    assert "the manifest says" in error(tmp_path, "reconstruct", **asked)["message"]
    shutil.rmtree(folder)
    gone = error(tmp_path, "reconstruct", **asked)
    assert gone["kind"] == "input"
    assert gone["field"] == "model"
    assert "no such bundle" in gone["message"]


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (InputError("x"), "input"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "memory"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"), "memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "memory"),
        (MemoryError(), "memory"),
        (RuntimeError("CUDA error: no kernel image is available for execution on the device"), "device"),
        (OSError(28, "No space left on device"), "disk"),
        (PermissionError(13, "Permission denied"), "disk"),
        (urllib.error.URLError("timed out"), "network"),
        (TimeoutError("x: not there after 60 s"), "network"),
        (ConnectionResetError(104, "Connection reset by peer"), "network"),
        (ModuleNotFoundError("No module named 'torch'"), "missing"),
        (KeyError("x"), "defect"),
    ],
)
def test_every_failure_has_a_kind_that_says_what_to_do_about_it(raised, kind):
    said = worker.described(raised)
    assert said["kind"] == kind
    assert kind in worker.KINDS
    assert said["message"]
    assert "\n" not in said["message"] or kind == "input"


def test_after_running_out_of_memory_nothing_is_held(films, small_model, tmp_path, monkeypatch):
    asked = {"views": views(films), "bundle": str(small_model.path), "options": options()}
    result(tmp_path, "reconstruct", **asked)

    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(core, "reconstruct", exhausted)
        assert error(tmp_path, "reconstruct", **asked)["kind"] == "memory"
    assert WARM._model is None
    result(tmp_path, "reconstruct", **asked)


@pytest.mark.parametrize(
    "line", [b"not JSON", b"[]", b"{}", b'{"id": 1}', b'{"id": 1, "task": "dance"}', b'{"id": 1, "task": "preview"}']
)
def test_a_request_that_makes_no_sense_is_answered_with_an_error(line, tmp_path):
    said: list[dict[str, Any]] = []
    worker.answer(line, said.append, arrays_in(tmp_path), worker_tasks.TASKS)
    assert [list(each) for each in said] == [["id", "error"]]


def test_it_goes_on_after_a_bad_request_and_ends_without_one(tmp_path):
    lines: queue.Queue[bytes | None] = queue.Queue()
    for line in (b"nonsense", b"", b'{"id": 2, "task": "hello"}', None):
        lines.put(line)
    said: list[dict[str, Any]] = []
    worker.serve(lambda _: lines.get(), said.append, arrays_in(tmp_path), 1.0, worker_tasks.TASKS)
    assert "error" in said[0]
    assert said[-1]["result"]["devices"][0]["name"] == "cpu"


def test_a_preview_is_the_image_the_network_gets(films, small_model, tmp_path):
    answer = result(tmp_path, "preview", view=views(films)[0], bundle=str(small_model.path))
    size = small_model.manifest.model.detector.size
    image, mask = np.load(answer["image"]), np.load(answer["mask"])
    assert image.shape == mask.shape == (size, size)
    assert (image.dtype, mask.dtype) == (np.uint8, np.bool_)
    assert np.all(image[~mask] == 42)  # -1 of -1.5 ... 1.5
    assert image[mask].max() > 200


def test_simulated_xrays_come_as_dicom_files_and_as_arrays(films, tmp_path):
    answer = result(tmp_path, "simulate", ct=str(films / "ct.nii.gz"), out=str(tmp_path / "out"), angles=[0.0, 90.0])
    assert [Path(file).name for file in answer["files"]] == ["frontal.dcm", "lateral.dcm"]
    assert [np.load(each["image"]).shape for each in answer["images"]] == [(432, 432)] * 2
    assert answer["images"][1]["view"]["angle_deg"] == 90.0
    assert len(answer["images"][0]["isocentre_mm"]) == 3


def test_a_volume_compared_with_itself_has_no_error(films, tmp_path):
    ct = str(films / "ct.nii.gz")
    answer = result(tmp_path, "compare", reconstruction=ct, truth=ct)
    assert answer["protocols"]["honest"]["mae_hu"] < 1e-6
    assert read_ct(ct).hu.shape == tuple(answer["grid"]["voxels_xyz"])


def archive(bundle: Bundle, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for each in bundle.path.iterdir():
            file.write(each, each.name)
    return path


@pytest.mark.parametrize("as_archive", [True, False])
def test_a_model_is_installed_whole_or_not_at_all(small_model, tmp_path, as_archive):
    source = archive(small_model, tmp_path / "model.zip") if as_archive else small_model.path
    store = tmp_path / "store"
    asked = {"bundle": str(source), "into": str(store), "name": "small"}
    assert Bundle.open(result(tmp_path, "install", **asked)["path"]).hash == small_model.hash
    assert "already" in error(tmp_path, "install", **asked)["message"]
    other = small_model.path if as_archive else archive(small_model, tmp_path / "model.zip")
    assert "already" in error(tmp_path, "install", **asked | {"bundle": str(other)})["message"]
    damaged = tmp_path / "damaged"
    shutil.copytree(small_model.path, damaged)
    (damaged / CARD).write_text("altered")
    refused = error(tmp_path, "install", bundle=str(damaged), into=str(store), name="damaged")
    assert (refused["kind"], refused["field"]) == ("input", "offer")
    assert [each.name for each in store.iterdir()] == ["small.zip" if as_archive else "small"]
    assert (
        error(tmp_path, "install", bundle=str(damaged), into=str(tmp_path / "new" / "store"), name="x")["kind"]
        == "input"
    )
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").write_text("x")
    assert error(tmp_path, "install", bundle=str(source), into=str(tmp_path / "file"), name="x")["kind"] == "input"
    assert (tmp_path / "file").read_text() == "x"


def test_a_real_worker_greets_and_keeps_foreign_prints_off_the_protocol(tmp_path):
    noisy = "import os\nTASKS['noisy'] = lambda folder, report: (print('x'), os.write(1, b'y'), {})[-1]"
    with process(tmp_path / "w", before=noisy) as child:
        greeting = hear(child)
        own = Path(greeting.pop("folder"))
        assert greeting == {"pid": child.pid, "protocol": worker.PROTOCOL}
        assert own.parent == tmp_path / "w"
        assert own.is_dir()
        say(child, id=1, task="noisy")
        assert hear(child) == {"id": 1, "result": {}}


def test_while_it_works_it_tells_what_it_takes_of_the_computer_and_then_no_more(tmp_path):
    task = """
def work(folder, report, busy: bool):
    report("sample", 3, 9)
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        if not busy:
            time.sleep(0.1)
    return {}
TASKS["work"] = work
"""
    shares = {}
    with process(tmp_path / "worker", task) as child:
        hear(child)
        for number, busy in enumerate((True, False)):
            say(child, id=number, task="work", busy=busy)
            said = [hear(child)]
            while "result" not in said[-1]:
                said.append(hear(child))
            plain, *told, last = said
            assert plain == {"id": number, "stage": "sample", "i": 3, "n": 9}
            assert [each | {"load": 0} for each in told] == [plain | {"load": 0}] * len(told)
            assert told
            assert last == {"id": number, "result": {}}
            shares[busy] = max(each["load"]["processors"] for each in told)
        say(child, id=5, task="dance")
        assert hear(child)["error"]["kind"] == "input"
    assert 0.0 <= shares[False] < 0.3 / os.cpu_count()
    assert shares[False] < shares[True] <= min(1.0, 1.3 / os.cpu_count())


def test_it_ends_in_the_middle_of_its_work_when_standard_input_closes(tmp_path):
    folder = tmp_path / "w"
    with process(folder, before="TASKS['sleep'] = lambda folder, report: time.sleep(1000)") as child:
        own = Path(hear(child)["folder"])
        say(child, id=1, task="sleep")
        while not (own / "1").exists():
            time.sleep(0.01)
        began = time.monotonic()
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(LIMIT_S) == 0
        assert time.monotonic() - began < 5.0
    assert list(folder.iterdir()) == []


def test_its_folder_is_gone_although_two_threads_see_the_end(tmp_path):
    slow = "from clsdm.files import scratch\nempty = scratch.empty\nscratch.empty = lambda path: (time.sleep(0.5), empty(path))"
    with process(tmp_path / "w", before=slow) as child:
        hear(child)
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(LIMIT_S) == 0
    assert list((tmp_path / "w").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a signal that nobody can catch")
def test_it_does_not_outlive_a_parent_that_is_killed(tmp_path):
    folder = tmp_path / "w"
    folder.mkdir()
    start = f"import subprocess, sys; subprocess.Popen({[sys.executable, '-m', 'clsdm', 'serve', '--folder', str(folder)]!r}, "
    start += "stdin=subprocess.PIPE).wait()"
    with subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE) as parent:
        hear(parent)
        parent.kill()
    end = time.monotonic() + LIMIT_S
    while list(folder.iterdir()):
        assert time.monotonic() < end, "the worker is still there"
        time.sleep(0.05)


def test_it_ends_when_nobody_asks_for_a_while(tmp_path):
    with process(tmp_path / "w", idle=0.2) as child:
        assert child.wait(LIMIT_S) == 0
    assert list((tmp_path / "w").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs resource.setrlimit to make a disk that is full")
def test_a_disk_that_fills_up_is_reported_as_that(films, small_model, tmp_path):
    full = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))"
    with process(tmp_path / "w", before=full) as child:
        hear(child)
        say(child, id=1, task="reconstruct", views=views(films), bundle=str(small_model.path), options=options())
        while "stage" in (last := hear(child)):
            pass
    assert last["error"]["kind"] == "disk"
    assert re.search(
        r"volume\.npy: .*disk full: .*; / has .* left, at least 0\.1 MB are needed", last["error"]["message"]
    )


@pytest.mark.skipif(not hasattr(os, "nice"), reason="priorities are others there")
@pytest.mark.parametrize(
    "nice",
    [0, 10, 19],
    ids=["parent", "parent that is nice itself", "parent of the lowest priority, as Slicer's window"],
)
def test_it_runs_after_its_parent(tmp_path, nice):
    with process(tmp_path / "w", before=f"import os; os.nice({nice})") as child:
        hear(child)
        say(child, id=1, task="nothing")
        hear(child)  # it has begun to work
        if hasattr(os, "SCHED_IDLE"):
            assert (os.sched_getscheduler(child.pid) == os.SCHED_IDLE) is (nice == 19)
        if nice < 19:
            assert os.getpriority(os.PRIO_PROCESS, child.pid) > os.getpriority(os.PRIO_PROCESS, 0) + nice


def test_what_a_panel_needs_at_once_imports_without_torch():
    names = ["app.worker", "app.tasks", "xray.read", "model.bundle_files", "geometry.view", "xray.image"]
    names += ["volume.write_dicom", "quality.agreement", "quality.quantities"]
    code = "import sys\n" + "\n".join(f"import clsdm.{name}" for name in names) + "\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=LIMIT_S).returncode == 0


def test_the_command_line_serves_too(tmp_path):
    command = [sys.executable, "-m", "clsdm", "serve", "--folder", str(tmp_path), "--idle", "0.1"]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[0])["protocol"] == worker.PROTOCOL
