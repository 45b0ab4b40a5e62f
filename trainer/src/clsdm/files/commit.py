"""The step that makes a set of new files visible: all of them, also when the process is killed in the middle of it.

No file system moves several files at once. So a plan is written first, beside the new files, and everything is brought to
the disk; then the files are moved. A process that is killed before the plan is there has changed nothing; one that is
killed after it has left a plan that the next writer or reader of the folder carries out (:func:`recover`), as SQLite does
with its journal. It is carried out only where every file that is still to be replaced is as it was when the plan was
made: what somebody wrote since is never overwritten.
"""

import json
import os
import shutil
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from clsdm.errors import InputError
from clsdm.files.names import plain_name
from clsdm.files.scratch import abandoned, empty, remove_abandoned

PREFIX = ".clsdm-"
NEW, OLD, PLAN = "new", "old", "plan.json"


def commit(scratch: Path, folder: Path, gone: Iterable[str] = ()) -> None:
    """Move the files in ``scratch/new`` to ``folder``, and remove those that are ``gone``: all of it, or nothing.

    Args:
        scratch: a folder of our own (``clsdm.files.scratch``) on the same disk.
        folder: where the files belong; made if it is not there.
        gone: names of files that must not stay beside the new ones.

    Raises:
        InputError: a folder is in the way.
        OSError: the files cannot be moved; those that were are moved back.
    """
    new = scratch / NEW
    names = sorted(path.name for path in new.iterdir())
    _to_disk(new)
    if not folder.exists() and _moved_whole(new, folder):
        return
    blocked = next((name for name in names if (folder / name).is_dir()), None)
    if blocked is not None:
        raise InputError(f"{folder / blocked}: cannot be written (a folder of that name is there)")
    leaving = [name for name in gone if (folder / name).exists()]
    if len(names) + len(leaving) > 1:
        _move_by_plan(scratch, folder, names, leaving)
    else:
        for name in names:
            (new / name).replace(folder / name)
        for name in leaving:
            (folder / name).unlink()
    _folder_to_disk(folder)


def recover(folder: Path) -> None:
    """Finish what a killed process had decided to do in ``folder``, and remove what it had not."""
    for scratch in abandoned(folder, PREFIX):
        with suppress(OSError, InputError):
            _finish(scratch, folder)
        empty(scratch)
    remove_abandoned(folder, PREFIX)


def _moved_whole(new: Path, folder: Path) -> bool:
    """Whether the new files became the folder; not so where another process has just made it."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        new.rename(folder)
    except OSError:
        if folder.is_dir():
            return False
        raise
    _folder_to_disk(folder.parent)
    return True


def _move_by_plan(scratch: Path, folder: Path, names: list[str], gone: list[str]) -> None:
    old = scratch / OLD
    old.mkdir()
    for name in (*names, *gone):
        if (folder / name).exists():
            _linked(folder / name, old / name)
    plan = {"moves": _states(folder, names), "gone": _states(folder, gone)}
    (scratch / "plan.part").write_text(json.dumps(plan), encoding="utf-8")
    _file_to_disk(scratch / "plan.part")
    (scratch / "plan.part").replace(scratch / PLAN)
    _folder_to_disk(scratch)
    try:
        _move(scratch, folder, names, gone)
    except OSError:
        (scratch / PLAN).unlink()
        _undo(scratch, folder, names, gone)
        raise


def _move(scratch: Path, folder: Path, names: Iterable[str], gone: Iterable[str]) -> None:
    for name in names:
        (scratch / NEW / name).replace(folder / name)
    for name in gone:
        (folder / name).unlink()


def _undo(scratch: Path, folder: Path, names: list[str], gone: list[str]) -> None:
    """Bring back what was there before."""
    for name in (*names, *gone):
        kept, moved = scratch / OLD / name, not (scratch / NEW / name).exists()
        with suppress(OSError):
            if kept.exists() and (moved or name in gone):
                kept.replace(folder / name)
            elif moved and name in names:
                (folder / name).unlink()


def _finish(scratch: Path, folder: Path) -> None:
    """Carry out the plan in ``scratch``, where what it is about is as it was."""
    plan = json.loads((scratch / PLAN).read_text(encoding="utf-8"))
    moves, gone = ({plain_name(name, PLAN): state for name, state in plan[part].items()} for part in ("moves", "gone"))
    left = {name: state for name, state in moves.items() if (scratch / NEW / name).is_file()}
    waiting = {name: state for name, state in gone.items() if (folder / name).exists()}
    if _states(folder, [*left, *waiting]) == left | waiting:
        _move(scratch, folder, left, waiting)
        _folder_to_disk(folder)


def _states(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Size and time of a file, by which it is known to be the same; null where there is none."""
    states: dict[str, Any] = {}
    for name in names:
        try:
            found = (folder / name).stat()
        except FileNotFoundError:
            states[name] = None
        else:
            states[name] = [found.st_size, found.st_mtime_ns]
    return states


def _linked(file: Path, to: Path) -> None:
    """The same file under a second name; a copy where the file system knows no links."""
    try:
        to.hardlink_to(file)
    except OSError:
        shutil.copy2(file, to)


def _to_disk(folder: Path) -> None:
    for path in folder.rglob("*"):
        (_folder_to_disk if path.is_dir() else _file_to_disk)(path)
    _folder_to_disk(folder)


def _file_to_disk(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _folder_to_disk(folder: Path) -> None:
    """Bring the names in a folder to the disk; Windows does that by itself, and some network disks cannot."""
    if sys.platform == "win32":
        return
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
