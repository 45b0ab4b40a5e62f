"""Files appear whole and sets of them together, also when the process is killed at any step of it."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from processes import needs_full_disk, python

from clsdm.errors import InputError
from clsdm.failures import kind_of
from clsdm.files import commit
from clsdm.files.atomic import recover, write_atomically, written_together

OLD = {"r.json": "old", "r.nii": "old", "r_spread.nii": "old", "other": "the user's"}
NEW = {"r.json": "new", "r.nii": "new", "r_coverage.nii": "new", "other": "the user's"}

STEPS = {Path: ("replace", "rename", "unlink", "mkdir", "write_text", "hardlink_to"), os: ("fsync",)}
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a child that is killed at a step of its own")


def write(folder: Path, *names: str) -> None:
    with written_together(folder, gone=["r_spread.nii"]) as scratch:
        for name in names:
            (scratch / name).write_text("new")


def written_until_killed(folder: Path, steps: int) -> int:
    """Write ``NEW`` in a child that dies after so many steps; its exit code, 0 where it came to an end before."""
    if child := os.fork():
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = [steps]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return real(*given, **named)

        return step

    for owner, names in STEPS.items():
        for name in names:
            setattr(owner, name, dying(getattr(owner, name)))
    write(folder, "r.json", "r.nii", "r_coverage.nii")
    os._exit(0)


def half_moved(parent: Path) -> Path:
    """A folder in which a set was being moved when its writer was killed."""
    for steps in range(100):
        folder = made(parent / str(steps), OLD)
        written_until_killed(folder, steps)
        if held(folder) not in (OLD, NEW):
            return folder
    raise AssertionError("never between two moves")


def held(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def made(folder: Path, files: dict[str, str]) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@needs_fork
@pytest.mark.parametrize("there", [True, False], ids=["over an earlier set", "into a new folder"])
def test_killed_at_any_step_all_of_a_set_is_there_or_none(there, tmp_path):
    before, after = (OLD, NEW) if there else ({}, {name: "new" for name in ("r.json", "r.nii", "r_coverage.nii")})
    seen, code = [], 9
    while code == 9:
        steps = len(seen)
        folder = made(tmp_path / str(steps), before) if there else tmp_path / str(steps) / "sub" / "r"
        code = written_until_killed(folder, steps)
        recover(folder if there else tmp_path)
        found = held(folder) if folder.exists() else {}
        assert found in (before, after), f"after {steps} steps"
        seen.append(found == after)
        assert not list(tmp_path.rglob(".clsdm-*")), f"after {steps} steps"
    assert code == 0
    assert len(seen) > 10
    assert seen == sorted(seen)  # never back
    assert seen[-1]


@needs_fork
def test_a_killed_set_is_finished_by_the_next_writer(tmp_path):
    folder = half_moved(tmp_path)
    write_atomically(folder / "later", lambda path: path.write_text("later"))
    assert held(folder) == NEW | {"later": "later"}


@needs_fork
def test_what_somebody_wrote_since_is_not_overwritten_by_a_plan(tmp_path):
    folder = half_moved(tmp_path)
    left = next(name for name in ("r_coverage.nii", "r.nii") if held(folder).get(name) != "new")
    (folder / left).write_text("somebody's")
    there = held(folder)
    recover(folder)
    assert held(folder) == there
    assert not list(folder.glob(".clsdm-*"))


def test_a_plan_that_came_in_an_archive_is_not_carried_out(tmp_path):
    folder = made(tmp_path / "r", OLD)
    scratch = folder / ".clsdm-x"
    (scratch / commit.NEW).mkdir(parents=True)
    (scratch / commit.NEW / "r.nii").write_text("evil")
    (scratch / commit.PLAN).write_text('{"moves": {"r.nii": null, "../r.nii": null}, "gone": {"other": null}}')
    (scratch / "owner.lock").write_bytes(b"1 2\n")
    recover(folder)
    assert held(folder) == OLD


@pytest.mark.parametrize("at", range(4))
def test_a_move_that_fails_is_taken_back(at, tmp_path, monkeypatch):
    folder, moved, real = made(tmp_path / "r", OLD), [], Path.replace

    def fails(self: Path, target: Path) -> Path:
        if self.parent.name == commit.NEW and len(moved) == at:
            raise PermissionError(errno.EACCES, "Permission denied")
        moved.append(self) if self.parent.name == commit.NEW else None
        return real(self, target)

    monkeypatch.setattr(Path, "replace", fails)
    with pytest.raises(InputError, match=r"r: cannot be written \(Permission denied\)$"):
        write(folder, "a", "r.json", "r.nii", "r_coverage.nii")
    assert held(folder) == OLD
    assert not list(folder.glob(".clsdm-*"))


def test_everything_is_on_the_disk_before_it_is_moved(tmp_path, monkeypatch):
    done: list[str] = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("sync"), fsync(descriptor))[1])
    monkeypatch.setattr(Path, "replace", lambda path, to: (done.append("move"), replace(path, to))[1])
    write_atomically(tmp_path / "x", lambda path: path.write_text("x"))
    assert done.index("sync") < done.index("move")
    assert done[-1] == "sync" or sys.platform == "win32"


WRITE = """
import sys, numpy as np
from clsdm.errors import InputError
from clsdm.failures import kind_of
from clsdm.files.atomic import write_atomically
from clsdm.files.png import write_png
try:
    write_atomically(sys.argv[1] + "/new/" + sys.argv[2], lambda path: eval(sys.argv[3]), 30_000_000)
except InputError as error:
    print(kind_of(error), error)
"""


@needs_full_disk
@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("r.nii", "path.write_bytes(bytes(10**6))"),
        ("x.png", "write_png(np.random.randint(0, 255, (99, 99, 3), np.uint8), path)"),
        ("x.npy", "np.save(path, np.ones(999))"),
    ],
)
def test_a_full_disk_is_named_with_the_size_needed_also_where_a_library_says_nothing_of_it(tmp_path, name, write):
    said = python(WRITE, tmp_path, name, write, largest_file=4096).stdout
    assert said.startswith(f"disk {tmp_path}/new/{name}: cannot be written (disk full: "), said
    assert "at least 30.0 MB are needed" in said
    assert ".clsdm-" not in said
    assert list(tmp_path.iterdir()) == []


def test_a_scratch_folder_whose_maker_died_before_it_marked_it_goes_with_the_next_writing(tmp_path):
    for name, files in ((".clsdm-abcdefgh", []), (".clsdm-abcdefg1", ["owner.lock"])):
        (tmp_path / name).mkdir(mode=0o700)
        for file in files:
            (tmp_path / name / file).write_bytes(b"")
    write_atomically(tmp_path / "x", lambda path: path.write_text("x"))
    assert [each.name for each in tmp_path.iterdir()] == ["x"]


def test_a_failure_behind_others_keeps_its_kind():
    hidden = InputError("cannot be written")
    hidden.__cause__ = InputError("cannot be written")
    hidden.__cause__.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert kind_of(hidden) == "disk"


def test_a_folder_in_the_way_is_named_and_nothing_moves(tmp_path):
    folder = made(tmp_path / "r", OLD)
    (folder / "z").mkdir()
    with pytest.raises(InputError, match=r"r/z: cannot be written \(a folder"):
        write(folder, "other", "z")
    assert held(folder) == OLD


def test_given_up_it_leaves_no_folder(tmp_path):
    def given_up() -> None:
        with written_together(tmp_path / "a" / "b") as scratch:
            (scratch / "x").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        given_up()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a file system without any room")
def test_a_disk_without_room_is_not_blamed_for_another_reason():
    with pytest.raises(InputError, match=r"^/proc: cannot be written \((?!disk full)"):
        write_atomically(Path("/proc/x.json"), lambda path: path.write_text("{}"))
