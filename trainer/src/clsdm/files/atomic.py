"""Files are written whole or not at all: one, or several that belong together."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clsdm.errors import InputError


def write_atomically(path: str | os.PathLike[str], write: Callable[[Path], object]) -> None:
    """Call ``write`` with a name in a scratch folder and move the result to ``path``.

    Raises:
        InputError: the file cannot be written (no permission, disk full, a folder of that name).
    """
    path = Path(path)
    with _moved_at_the_end(path.parent, str(path)) as scratch:
        part = scratch / path.name.lower()  # ITK knows formats by suffixes in small letters
        write(part)
        part.replace(scratch / path.name)


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """A scratch folder on the same disk; what was written there moves to ``folder`` at the end, or vanishes on failure.

    Yields:
        The scratch folder.

    Raises:
        InputError: the files cannot be written (no permission, disk full, a file where a folder should be).
    """
    with _moved_at_the_end(folder, str(folder)) as scratch:
        yield scratch


@contextmanager
def _moved_at_the_end(folder: Path, what: str) -> Iterator[Path]:
    """``what`` begins the message of a failure."""
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    scratch = None
    try:
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        with tempfile.TemporaryDirectory(prefix=".clsdm-", dir=existing) as scratch:
            yield Path(scratch)
            folder.mkdir(parents=True, exist_ok=True)
            blocked = next(
                (folder / each.name for each in Path(scratch).iterdir() if (folder / each.name).is_dir()), None
            )
            if blocked is not None:
                raise InputError(f"{blocked}: cannot be written (a folder of that name is there)")
            for file in sorted(Path(scratch).iterdir()):
                file.replace(folder / file.name)
    except (OSError, RuntimeError, InputError) as error:  # RuntimeError: ITK's
        with suppress(OSError):
            for each in missing:
                each.rmdir()
        text = str(error) if isinstance(error, InputError) else f"{what}: cannot be written ({_reason(error)})"
        raise InputError(text.replace(scratch, str(folder)) if scratch else text) from error


def _reason(error: Exception) -> str:
    """What the system says, or the last telling line of ITK."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].split("): ")[-1] if lines else type(error).__name__
