"""A folder of one's own goes with its maker, or after it, and nothing else ever goes."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from processes import needs_full_disk, python

from clsdm.files import scratch
from clsdm.files.scratch import MARK, OwnFolder, abandoned, remove_abandoned

PREFIX = "clsdm-test-"

MAKE_AND = f"""
import os, sys, time
from pathlib import Path
from clsdm.files.scratch import OwnFolder
own = OwnFolder(Path(sys.argv[1]), {PREFIX!r})
(own.path / "more").mkdir()
(own.path / "more" / "array.npy").write_bytes(b"x")
print(own.path, flush=True)
"""


def left_by_a_dead_process(parent: Path) -> Path:
    return Path(python(MAKE_AND + "os._exit(1)", parent).stdout.strip())


def test_its_maker_removes_it(tmp_path):
    own = OwnFolder(tmp_path, PREFIX)
    (own.path / "x").write_text("x")
    own.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_has_is_not(tmp_path):
    left = left_by_a_dead_process(tmp_path)
    assert (left / "more" / "array.npy").exists()
    own = OwnFolder(tmp_path, PREFIX)
    with subprocess.Popen(
        [sys.executable, "-c", MAKE_AND + "time.sleep(100)", str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        living = Path(child.stdout.readline().decode().strip())
        remove_abandoned(tmp_path, PREFIX)
        assert sorted(tmp_path.iterdir()) == sorted([own.path, living])
        child.kill()
        child.wait()
    remove_abandoned(tmp_path, PREFIX)
    assert list(tmp_path.iterdir()) == [own.path]
    own.remove()


def test_what_is_not_provably_left_by_us_stays(tmp_path):
    left = left_by_a_dead_process(tmp_path)
    shutil.copytree(left, tmp_path / f"{PREFIX}copy")  # out of an archive, for example
    (tmp_path / f"{PREFIX}empty").mkdir()
    (tmp_path / f"{PREFIX}marked").mkdir()
    (tmp_path / f"{PREFIX}marked" / MARK).write_bytes(b"")
    (tmp_path / f"{PREFIX}file").write_bytes(b"")
    (tmp_path / "other").mkdir()
    shutil.move(left, tmp_path / "other")
    (tmp_path / f"{PREFIX}link").symlink_to(tmp_path / "other" / left.name)
    before = sorted(tmp_path.rglob("*"))
    remove_abandoned(tmp_path, PREFIX)
    remove_abandoned(tmp_path / "nowhere", PREFIX)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs a FIFO")
def test_a_mark_that_would_be_waited_for_is_not_opened(tmp_path):
    (tmp_path / f"{PREFIX}x").mkdir()
    os.mkfifo(tmp_path / f"{PREFIX}x" / MARK)
    assert list(abandoned(tmp_path, PREFIX)) == []


def test_a_folder_that_stands_in_the_place_of_ours_is_left_alone(tmp_path):
    own = OwnFolder(tmp_path, PREFIX)
    own.path.rename(tmp_path / "moved")
    own.path.mkdir()
    (own.path / "theirs").write_text("x")
    own.remove()
    assert (own.path / "theirs").exists()


def test_a_link_in_it_is_removed_and_not_followed(tmp_path):
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "x").write_text("x")
    own = OwnFolder(tmp_path, PREFIX)
    (own.path / "link").symlink_to(tmp_path / "theirs")
    own.remove()
    assert [path.name for path in tmp_path.rglob("*")] == ["theirs", "x"]


@needs_full_disk
def test_one_that_cannot_be_marked_is_not_left(tmp_path):
    assert "File too large" in python(MAKE_AND, tmp_path, largest_file=0).stderr
    assert list(tmp_path.iterdir()) == []


def test_a_thread_that_still_works_in_it_does_not_keep_it(tmp_path):
    """A worker's folder goes on another thread than the one that makes folders for arrays in it."""
    own = OwnFolder(tmp_path, PREFIX)
    (own.path / "0").mkdir()
    began, stop = threading.Event(), threading.Event()

    def work() -> None:
        number = 1
        while not stop.is_set():
            with contextlib.suppress(OSError):
                (own.path / str(number)).mkdir()
            number += 1
            began.set()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        began.wait()
        own.remove()
    finally:
        stop.set()
        thread.join()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_whose_maker_died_before_it_could_mark_it_goes_and_no_other_does(tmp_path):
    unmarked, begun, ended = (Path(tempfile.mkdtemp(prefix=PREFIX, dir=tmp_path)) for _ in range(3))
    (begun / MARK).write_bytes(b"")  # killed before it could write into it
    ended.rename(f"{ended}-gone")  # killed after it had removed it
    marked = Path(tempfile.mkdtemp(prefix=PREFIX, dir=tmp_path))
    (marked / MARK).write_bytes(b"of another folder")
    full = Path(tempfile.mkdtemp(prefix=PREFIX, dir=tmp_path))
    (full / "file").write_text("somebody's")
    named = tmp_path / f"{PREFIX}results"
    named.mkdir()
    (tmp_path / f"{PREFIX}abcd1234").mkdir(mode=0o755)  # as nobody's mkdtemp makes it
    remove_abandoned(tmp_path, PREFIX)
    kept = {full.name, named.name, marked.name} | ({f"{PREFIX}abcd1234"} if hasattr(os, "getuid") else set())
    assert {each.name for each in tmp_path.iterdir()} == kept
    assert not unmarked.exists()


def test_a_living_process_that_has_made_its_mark_and_not_yet_locked_it_is_not_robbed(tmp_path, monkeypatch):
    """Another looks at the mark just then, and takes it for abandoned: a new folder is made."""
    real, calls = scratch.try_lock, []

    def looked_at_first(file):
        calls.append(file)
        if len(calls) == 1:
            monkeypatch.setattr(scratch, "try_lock", real)
            remove_abandoned(tmp_path, PREFIX)
        return real(file)

    monkeypatch.setattr(scratch, "try_lock", looked_at_first)
    own = OwnFolder(tmp_path, PREFIX)
    assert calls
    assert list(tmp_path.iterdir()) == [own.path]
    assert list(abandoned(tmp_path, PREFIX)) == []
    own.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_taken_for_abandoned_before_it_is_marked_is_made_again(tmp_path, monkeypatch):
    made, real = [], tempfile.mkdtemp

    def taken(**words: object) -> str:
        made.append(real(**words))
        if len(made) < 3:
            Path(made[-1]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    own = OwnFolder(tmp_path, PREFIX)
    assert len(made) == 3
    assert (own.path / MARK).exists()
    own.remove()
