"""The one way files are written: whole or not at all, and those that belong together, together (``commit``)."""

import errno
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clsdm.errors import InputError
from clsdm.files.commit import NEW, PREFIX, commit, recover
from clsdm.files.scratch import OwnFolder

__all__ = ["recover", "room_for", "write_atomically", "written_together"]

_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_FULL_WORDS = ("requested and", *(os.strerror(number) for number in _FULL))
"""Messages of libraries that do not pass the system's reason on as a number; the first is numpy's."""
_NO_ROOM_BYTES = 2**20
"""With less than this left, a library that only says that it could not write is taken to have met a full disk."""


@contextmanager
def written_together(folder: Path, gone: Iterable[str] = (), needed_bytes: int = 0) -> Iterator[Path]:
    """A scratch folder on the same disk; what was written there moves to ``folder`` at the end, or vanishes on failure.

    Args:
        folder: made if it is not there.
        gone: names of files in ``folder`` that vanish when the new ones appear.
        needed_bytes: what the files take, as far as it is known; for the message about a full disk.

    Yields:
        The scratch folder.

    Raises:
        InputError: the files cannot be written (no permission, disk full, a file where a folder should be).
    """
    folder = Path(folder)
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    own: OwnFolder | None = None
    try:
        recover(existing)
        own = OwnFolder(existing, PREFIX)
        new = own.path / NEW
        new.mkdir()
        yield new
        commit(own.path, folder, gone)
    except (OSError, RuntimeError, InputError) as error:  # RuntimeError: ITK's
        used = _size(own.path) if own is not None else 0
        text = _in_words(error, folder, existing, max(needed_bytes, used))
        with suppress(OSError):  # where the move failed; before it none was made
            for each in missing:
                each.rmdir()
        raise InputError(text if own is None else _without(text, own.path, folder)) from error
    finally:
        if own is not None:
            own.remove()


def write_atomically(path: str | os.PathLike[str], write: Callable[[Path], object], needed_bytes: int = 0) -> None:
    """Call ``write`` with the name of a temporary file and move the result to ``path``, so that no half file is ever seen.

    Args:
        path: folders are made if they are not there.
        write: gets a path with the same name in another folder.
        needed_bytes: what the file takes, as far as it is known; for the message about a full disk.

    Raises:
        InputError: the file cannot be written (no permission, disk full).
    """
    path = Path(path)
    with written_together(path.parent, needed_bytes=needed_bytes) as scratch, room_for(path, needed_bytes, scratch):
        write(scratch / path.name)


@contextmanager
def room_for(path: Path, needed_bytes: int, scratch: Path | None = None) -> Iterator[None]:
    """Where writing ``path`` fails, say so as all of this program does: the disk, what it has left, what is needed.

    Args:
        path: file or folder, begins the message.
        needed_bytes: what is written, as far as it is known.
        scratch: the folder on that disk where it is written first.

    Raises:
        InputError: in place of an ``OSError`` or a library's ``RuntimeError``.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        used = 0 if scratch is None else _size(scratch)
        raise InputError(_in_words(error, path, scratch or path.absolute(), max(needed_bytes, used))) from error


def _in_words(error: Exception, where: Path, on_disk: Path, needed_bytes: int) -> str:
    """Why ``where`` cannot be written, in one line."""
    if isinstance(error, InputError):
        return str(error)
    disk = next(each for each in (on_disk, *on_disk.parents) if os.path.ismount(each) or each == each.parent)
    free, number = shutil.disk_usage(disk).free, getattr(error, "errno", None)
    if number in _FULL or (number is None and free < _NO_ROOM_BYTES) or any(each in str(error) for each in _FULL_WORDS):
        said = getattr(error, "strerror", None) or "nothing more can be written"
        room = f"{disk} has {_in_units(free)} left, at least {_in_units(needed_bytes)} are needed"
        reason = f"disk full: {said}; {room}"
    else:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        reason = getattr(error, "strerror", None) or lines[-1].split("): ")[-1]
    return f"{where}: cannot be written ({reason})"


def _in_units(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"


def _without(text: str, scratch: Path, folder: Path) -> str:
    """A message that names the file it is about, and no scratch file."""
    return text.replace(str(scratch / NEW), str(folder)).replace(str(scratch), str(folder))


def _size(folder: Path) -> int:
    with suppress(OSError):
        return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    return 0
