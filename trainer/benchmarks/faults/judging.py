"""The programs on a damaged input: the judge calls them as a user does, and looks at everything they leave.

``refused`` is one line and exit code 2, with nothing left behind; ``right`` is an answer from an input in which nothing can
tell that it was damaged (``well_formed``), or the same answer as without the damage. Everything else is a fault.
"""

import contextlib
import io
import json
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hostile_inputs import USED_VOLUMES, Hostile, Inputs
from wellformed import well_formed

GOOD = ("refused", "right")
FAULTS = ("traceback", "not one line", "left behind", "over 2 GB", "wrongly accepted", "over 10 s", "died")
COLUMNS = (*GOOD, *FAULTS)

_MEMORY = re.compile(r"\bmemory\b|to allocate|bad_alloc")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Verdict:
    """A column of the table, and the words that led to it."""

    column: str
    said: str = ""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def command(program: Callable[[list[str]], int], *arguments: object) -> Ended:
    """Call a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = program([str(argument) for argument in arguments])
        except SystemExit as error:  # argparse
            code = int(error.code or 0) if isinstance(error.code, int) else 1
    return Ended(code, out.getvalue(), err.getvalue())


def judge(kind: str, hostile: Hostile, inputs: Inputs, where: Path) -> Verdict:
    """Hand a damaged input in and judge what comes of it; ``where`` is the folder that holds it."""
    before, damaged = listing(where), files_of(hostile.path) != files_of(hostile.base)
    try:
        ended, same = JUDGES[kind](hostile, inputs, where)
        wrong = ended.code in (0, 3) and damaged and _told(kind, hostile) and not same()
    except MemoryError:
        return Verdict("over 2 GB", traceback.format_exc())
    except Exception:  # noqa: BLE001 - this is what is looked for
        told = traceback.format_exc()
        return Verdict("over 2 GB" if "MemoryError" in told else "traceback", told)
    if ended.code in (0, 3):
        return Verdict("wrongly accepted" if wrong else "right", ended.err)
    if ended.code != 2:
        return Verdict("traceback", f"exit code {ended.code}: {ended.err}")
    if _MEMORY.search(ended.err):
        return Verdict("over 2 GB", ended.err)
    if ended.err.count("\n") != 1 or _CONTROL.search(ended.err):
        return Verdict("not one line", ended.err)
    left = sorted(set(listing(where)) ^ set(before))
    return Verdict("left behind", f"{left}: {ended.err}") if left else Verdict("refused", ended.err)


def listing(folder: Path) -> list[str]:
    """Every entry of a folder with its size."""
    return sorted(f"{path.relative_to(folder)} {path.lstat().st_size}" for path in folder.rglob("*"))


def files_of(path: Path) -> dict[str, bytes]:
    """The content of a file, or of the files in a folder; nothing of what is no file, which would not end."""
    files = [each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path]
    return {str(each.relative_to(path)): each.read_bytes() for each in files if each.is_file() and _small(each)}


def _small(path: Path) -> bool:
    return path.stat().st_size < 2**28


def _told(kind: str, hostile: Hostile) -> bool:
    """Whether an input says by itself that it was damaged."""
    if hostile.impossible or not hostile.contradicts or kind not in ("film", "scan"):
        return hostile.impossible or hostile.contradicts
    return not well_formed(hostile.path, hostile.base)


Judged = tuple[Ended, Callable[[], bool]]


def _film(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    from clsdm.app.cli import main
    from clsdm.xray.read import GeometryOverrides, read_xray

    def content(path: Path) -> tuple[np.ndarray, ...]:
        xray = read_xray(path, 0.0, GeometryOverrides(pixel_mm=6.0))
        return xray.image, np.array(xray.view.pixel_mm)

    given = ["--frontal", hostile.path, "--spacing", 6, "--bundle", inputs.bundle, "--device", "cpu", "--quiet"]
    ended = command(main, "reconstruct", *given, "--out", where / "out" / "r.nii.gz")
    return ended, lambda: _equal(content(hostile.path), content(hostile.base))


def _scan(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    from clsdm.errors import InputError
    from clsdm.volume.read import read_ct

    def content(path: Path) -> tuple[np.ndarray, ...]:
        ct = read_ct(path)
        return ct.hu, np.array(ct.spacing_mm)

    try:  # reading alone: the projection of 32^3 voxels that follows in `clsdm project` would take most of the time
        notes = read_ct(hostile.path).notes
    except InputError as error:
        return Ended(2, "", f"clsdm: {error}\n"), lambda: False
    said = any("damaged" in note for note in notes)  # and left out
    return Ended(0, "", ""), lambda: said or _equal(content(hostile.path), content(hostile.base))


def _equal(one: tuple[np.ndarray, ...], two: tuple[np.ndarray, ...]) -> bool:
    return all(a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5)) for a, b in zip(one, two, strict=True))


def _bundle(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    from clsdm.app.cli import main
    from clsdm.model.bundle import Bundle

    film = inputs.folder / "films" / "raw.dcm"
    given = ["--frontal", film, "--bundle", hostile.path, "--device", "cpu", "--quiet"]
    ended = command(main, "reconstruct", *given, "--out", where / "out" / "r.nii.gz")
    return ended, lambda: _content(Bundle.open(hostile.path)) == _content(Bundle.open(hostile.base))


def _content(bundle: Any) -> tuple[object, ...]:
    """All that is in a bundle; weights by their hash, against which they were held when it was opened."""
    return bundle.manifest, bundle.figures, bundle.files


def _request(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    from clsdm.app.cli import main

    return command(main, "reconstruct", hostile.path), lambda: False


def _line(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    from clsdm.app import worker
    from clsdm.app.tasks import TASKS

    told: list[dict[str, Any]] = []
    folder = where / "answers"
    folder.mkdir()
    worker.answer(hostile.path.read_bytes(), told.append, worker.ArrayFolders(folder), TASKS)
    json.dumps(told, allow_nan=False).encode("ascii")
    ends = [each for each in told if "result" in each or "error" in each]
    if len(ends) != 1:
        return Ended(1, "", f"{len(ends)} answers"), lambda: False
    error = ends[0].get("error")
    if error is None:
        return Ended(0, "", ""), lambda: True
    import shutil

    shutil.rmtree(folder)
    code = 2 if error["kind"] in ("input", "disk", "network", "missing") else 1
    return Ended(
        code, "", f"{error['kind']}: {error['message']}\n{error['details']}".rstrip("\n") + "\n"
    ), lambda: False


def _store(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    from clsdm_trainer.cli import main

    given = ["--preset", inputs.recipe, "--store", hostile.path, "--run", where / "run", "--device", "cpu"]
    return command(main, "autoencoder", *given, "--dry-run"), lambda: _used(hostile.path) == _used(hostile.base)


def _used(store: Path) -> list[object]:
    """All that training reads of a store."""
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    return [manifest, *((store / "volumes" / name).read_bytes() for name in USED_VOLUMES)]


def _checkpoint(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    """The next stage must read the weights and the latents of the damaged one, the same stage its checkpoint."""
    from clsdm_trainer.cli import main

    given = ["--preset", inputs.recipe, "--store", inputs.folder / "store", "--run", hostile.path, "--device", "cpu"]
    name = "autoencoder" if "checkpoint" in hostile.how else "alignment"
    return command(main, name, *given, "--minutes", 0), lambda: False


def _recipe(hostile: Hostile, inputs: Inputs, where: Path) -> Judged:
    from clsdm_trainer.cli import main

    given = ["--store", inputs.folder / "store", "--run", where / "run", "--device", "cpu", "--dry-run"]
    return command(main, "all", "--preset", hostile.path, *given, "--about", _about(inputs.folder)), lambda: False


def _about(folder: Path) -> Path:
    path = folder / "about.yaml"
    if not path.exists():
        path.write_text("licence: none\nanatomy: none\ndata: none\nrecipe: none\nremarks: none\n", encoding="utf-8")
    return path


JUDGES: dict[str, Callable[[Hostile, Inputs, Path], Judged]] = {
    name: getattr(sys.modules[__name__], f"_{name}")
    for name in ("film", "scan", "bundle", "request", "line", "store", "checkpoint", "recipe")
}
