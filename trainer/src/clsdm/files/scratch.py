"""Folders of this process's own: made new, marked, locked while it lives, removed by it, or by a successor after its death.

A folder is taken for abandoned on three grounds together: its name; a lock on a file in it that no living process holds
(a system lets go of a lock when its holder ends, however it ends); and a mark in that file, written after the lock was
taken, that names the folder itself (its device and inode), so that a copy of such a folder, or one out of an archive, is
none. Whatever lacks one of them is left alone, but for a folder of such a name with nothing in it at all, or a mark that is
empty: its maker died before it could mark it, or after it had unmarked it, and there is nothing in it to lose.
"""

import contextlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MARK = "owner.lock"
TRIES = 10
_FAR = 1 << 20  # Windows locks bytes, and nobody else can read those; the mark is before them


class OwnFolder:
    """A new folder in ``parent`` with a name that begins with ``prefix``.

    Attributes:
        path: the folder.
    """

    def __init__(self, parent: Path, prefix: str) -> None:
        for tries_left in reversed(range(TRIES)):
            self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            try:
                self._identity = _identity(self.path)
                self._mark = (self.path / MARK).open("xb", buffering=0)
                if _lock_soon(self._mark):
                    self._mark.write(self._identity)
                os.lstat(self.path / MARK)
                return
            except FileNotFoundError:  # another took it for abandoned before it was marked
                if not tries_left:
                    raise
            except OSError:  # a full disk, for example
                shutil.rmtree(self.path, ignore_errors=True)
                raise

    def remove(self) -> None:
        """Remove it with all that is in it, if it still is the folder that was made; what cannot be removed stays."""
        try:
            same = _identity(self.path) == self._identity and not self.path.is_symlink()
        except OSError:
            return
        path = self._moved_away() if same else self.path
        if same:
            empty(path)
        self._mark.close()
        if same:
            remove_emptied(path)

    def _moved_away(self) -> Path:
        """The folder under another name, so that a thread that still works in it makes nothing new in there.

        A successor knows it there too; where it cannot be moved (Windows, with a file open in it) it stays.
        """
        gone = self.path.with_name(f"{self.path.name}-gone")
        try:
            return self.path.rename(gone)
        except OSError:
            return self.path


def abandoned(parent: Path, prefix: str) -> Iterator[Path]:
    """The folders in ``parent`` whose maker is dead, one after the other; each is held while it is looked at.

    Args:
        parent: where to look.
        prefix: how their names begin.

    Yields:
        The folder.
    """
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if _may_be_own(entry, prefix)]
    except OSError:
        return
    for path in found:
        try:
            mark = (path / MARK).open("r+b")
        except OSError:  # gone meanwhile, or in use on Windows
            continue
        with mark:
            if try_lock(mark) and mark.read(100) == _identity(path):
                yield path


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders in ``parent`` that a dead process left."""
    emptied = []
    with contextlib.suppress(OSError), os.scandir(parent) as entries:
        unmarked = [Path(entry.path) for entry in entries if _never_marked(entry, prefix)]
        for path in unmarked:
            with contextlib.suppress(OSError):  # not empty, most likely
                _remove_empty_mark(path)
                path.rmdir()
    for path in abandoned(parent, prefix):
        empty(path)
        emptied.append(path)
    for path in emptied:  # no longer held, as Windows wants it
        remove_emptied(path)


def _remove_empty_mark(path: Path) -> None:
    """Remove the mark of a folder whose maker died before it could write it; of a living one it is locked in a moment."""
    found = os.lstat(path / MARK) if os.listdir(path) == [MARK] else None  # noqa: PTH208
    if found is not None and stat.S_ISREG(found.st_mode) and found.st_size == 0:
        with (path / MARK).open("r+b") as mark:
            if try_lock(mark) and not mark.read(1):
                (path / MARK).unlink()


def empty(path: Path) -> None:
    """Remove what is in a folder of our own, but the mark: if this is interrupted too, the folder is still known as ours."""
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            elif entry.name != MARK:
                with contextlib.suppress(OSError):
                    os.unlink(entry.path)  # noqa: PTH108 - a string already


def remove_emptied(path: Path) -> None:
    """Remove the mark and the folder, where nothing else is left in it."""
    with contextlib.suppress(OSError):
        if os.listdir(path) == [MARK]:  # noqa: PTH208
            (path / MARK).unlink()
            path.rmdir()


def try_lock(file: IO[bytes]) -> bool:
    """Whether the file is locked for this process now: until it is closed, or the process ends."""
    try:
        if sys.platform == "win32":
            import msvcrt

            file.seek(_FAR)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
            file.seek(0)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another holds it, or the file system knows no locks
        return False
    return True


def _lock_soon(file: IO[bytes]) -> bool:
    """Whether the file is locked for this process; another that looks whether it is abandoned holds it for a moment."""
    for _ in range(TRIES):
        if try_lock(file):
            return True
        time.sleep(0.01)
    return False


def _may_be_own(entry: os.DirEntry[str], prefix: str) -> bool:
    """Whether this user made it, by all that can be seen without opening anything."""
    if not (entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False)):
        return False
    try:
        mark = os.lstat(os.path.join(entry.path, MARK))  # noqa: PTH118 - a string already
    except OSError:
        return False
    return stat.S_ISREG(mark.st_mode) and (not hasattr(os, "getuid") or mark.st_uid == os.getuid())


def _never_marked(entry: os.DirEntry[str], prefix: str) -> bool:
    """Whether it looks as ``mkdtemp`` leaves a folder of this user, or as it is left when it is removed."""
    if not (
        re.fullmatch(re.escape(prefix) + r"[a-z0-9_]{8}(-gone)?", entry.name) and entry.is_dir(follow_symlinks=False)
    ):
        return False
    found = entry.stat(follow_symlinks=False)
    return not hasattr(os, "getuid") or (found.st_uid == os.getuid() and stat.S_IMODE(found.st_mode) == 0o700)


def _identity(path: Path) -> bytes:
    found = path.stat()
    return f"{found.st_dev} {found.st_ino}\n".encode()
