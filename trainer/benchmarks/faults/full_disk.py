"""Disks that are full: every program that writes, on a disk that ends at various sizes.

    python trainer/benchmarks/faults/full_disk.py [--smoke]

Two ways to end a disk: a limit of the size of each file (RLIMIT_FSIZE, POSIX), and a small tmpfs (root on Linux). A program
either says so in one line that names the disk or the file, with exit code 2, and leaves nothing half-written, or finishes
with files that are whole. Where the system has neither way, that is said and nothing is counted.
"""

import argparse
import contextlib
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "tests")]

import numpy as np  # noqa: E402
import pydicom  # noqa: E402
import SimpleITK as sitk  # noqa: E402, N813 - the usual name
import torch  # noqa: E402
from forking import processes, table  # noqa: E402
from hostile_inputs import Inputs  # noqa: E402
from PIL import Image  # noqa: E402

from clsdm_trainer.checkpoint import load_state  # noqa: E402

COLUMNS = ("refused", "right", "traceback", "not one line", "disk not named", "half-written", "left behind")
PROCESSES = processes(
    "hostile_inputs", "clsdm.app.request", "clsdm.reconstruction", "clsdm.simulate", "clsdm.quality.write",
    "clsdm_trainer.run", "clsdm_trainer.reporting", "clsdm_trainer.data.prepare", "lightning_fabric",
)  # fmt: skip
SIZES_KB = (1, 4, 24, 64, 200, 600, 2000, 20_000)


def programs(inputs: Inputs, out: Path) -> dict[str, tuple[str, list[Any]]]:
    """Commands that write, by name: its module and its arguments."""
    film = inputs.folder / "films" / "raw.dcm"
    given = ["--frontal", film, "--bundle", inputs.bundle, "--device", "cpu", "--quiet"]
    store = ["--store", inputs.folder / "store", "--device", "cpu"]
    prepared = ["--source", f"folder:{inputs.folder / 'three'}", "--preset", inputs.recipe, "--workers", 1]
    return {
        "reconstruct": ("clsdm.app.cli", ["reconstruct", *given, "--out", out / "r.nii.gz"]),
        "ensemble": (
            "clsdm.app.cli",
            ["reconstruct", *given, "--product", "ensemble", "--samples", 2, "--out", out / "r.mha"],
        ),
        "project": ("clsdm.app.cli", ["project", inputs.scan, "--out", out / "x", "--quiet"]),
        "compare": ("clsdm.app.cli", ["compare", inputs.scan, inputs.scan, "--out", out / "c", "--quiet"]),
        "prepare": ("clsdm_trainer.cli", ["prepare", *prepared, "--out", out / "store"]),
        "train": ("clsdm_trainer.cli", ["autoencoder", "--preset", inputs.recipe, *store, "--run", out / "run"]),
    }


def run(module: str, arguments: list[Any], limit: int | None, pipe: Any) -> None:
    """Run a program, with a limit of the size of a file in bytes; what it said and how it ended goes into the pipe."""
    import importlib
    import os
    import traceback

    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    main: Callable[[list[str]], int] = importlib.import_module(module).main
    if limit is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main([str(argument) for argument in arguments])
    except BaseException:  # noqa: BLE001 - what is looked for
        code = -1
        err.write(traceback.format_exc())
    pipe.send((code, err.getvalue()))


def ended(module: str, arguments: list[Any], limit: int | None) -> tuple[int, str]:
    """Exit code and standard error of a program in a process of its own."""
    mine, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=run, args=(module, arguments, limit, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        return mine.recv()
    except EOFError:
        return -2, "the process died"
    finally:
        process.join(30)


def judged(code: int, err: str, out: Path) -> str:
    """A column of the table."""
    files = [path for path in out.rglob("*") if path.is_file()] if out.exists() else []
    if any(".clsdm-" in str(path.relative_to(out)) for path in files):
        return "left behind"
    if broken := [path.name for path in files if not whole(path)]:
        print(f"half-written: {broken}", file=sys.stderr)
        return "half-written"
    if code == 0:
        return "right"
    if code != 2:
        print(err[-1500:], file=sys.stderr)
        return "traceback"
    if [line.startswith("clsdm") for line in err.splitlines()].count(True) != 1 or not err.splitlines()[-1].startswith(
        "clsdm"
    ):
        print(err[-1500:], file=sys.stderr)
        return "not one line"
    named = re.search(r"disk full: .* has .* left, at least .* are needed", err) is not None and str(out) in err
    if not named:
        print(err, file=sys.stderr)
    return "refused" if named else "disk not named"


def whole(path: Path) -> bool:
    """Whether a file under its final name can be read to its end."""
    try:
        if path.name.endswith((".nii.gz", ".mha")):
            sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        elif path.suffix == ".safetensors":
            load_state(path)
        elif path.suffix == ".dcm":
            np.asarray(pydicom.dcmread(path).pixel_array)
        elif path.suffix == ".png":
            np.asarray(Image.open(path))
        elif path.suffix == ".npy":
            np.load(path)
        elif path.suffix == ".jsonl":
            return True  # half a line at its end is cut when the run goes on
    except Exception:  # noqa: BLE001 - whatever it is, the file is not whole
        return False
    return True


@contextlib.contextmanager
def tmpfs(folder: Path, kilobytes: int) -> Iterator[bool]:
    """A small disk; yields False where there is none to be had."""
    folder.mkdir(parents=True)
    size = f"size={max(4, kilobytes)}k"
    mounted = (
        shutil.which("mount") is not None
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)


def limits_of_files() -> bool:
    """Whether the system can limit the size of files."""
    try:
        import resource

        return hasattr(resource, "RLIMIT_FSIZE")
    except ImportError:
        return False


def counted(sizes_kb: tuple[int, ...], folder: Path) -> dict[str, Counter[str]]:
    """Every program at every size, both ways."""
    inputs = Inputs(folder / "inputs")
    (inputs.folder / "three").mkdir()
    for name in "abc":
        image = sitk.ReadImage(str(inputs.scan)) + ord(name) % 3
        sitk.WriteImage(image, str(inputs.folder / "three" / f"{name}.nii.gz"))
    splits = {"train": ["a"], "val": ["b"], "test": ["c"]}
    (inputs.folder / "three" / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    rows: dict[str, Counter[str]] = {}
    for name in programs(inputs, folder):
        row = rows.setdefault(name, Counter())
        for size in sizes_kb:
            if limits_of_files():
                out = folder / f"{name}-{size}"
                row[judged(*ended(*programs(inputs, out)[name], limit=1024 * size), out)] += 1
            with tmpfs(folder / f"disk-{name}-{size}", size) as mounted:
                if mounted:
                    out = folder / f"disk-{name}-{size}"
                    row[judged(*ended(*programs(inputs, out)[name], limit=None), out)] += 1
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="two sizes only")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not limits_of_files():
        print("This system limits no file sizes; only a tmpfs could be tried.", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="full-"))
    try:
        rows = counted(SIZES_KB[1::4] if options.smoke else SIZES_KB, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(("program", "full disks"), rows, COLUMNS), end="")
    return 0 if all(row["refused"] + row["right"] == row.total() for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
