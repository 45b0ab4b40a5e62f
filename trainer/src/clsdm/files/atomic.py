"""Several files that belong together are written together: all of them, or none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from clsdm.errors import InputError


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """A scratch folder on the same disk; what was written there moves to ``folder`` at the end, or vanishes on failure.

    Yields:
        The scratch folder.

    Raises:
        InputError: the files cannot be written (no permission, disk full, a file where a folder should be).
    """
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
        lines = str(error).strip().splitlines() or [type(error).__name__]
        reason = getattr(error, "strerror", None) or lines[-1]
        text = str(error) if isinstance(error, InputError) else f"{folder}: cannot be written ({reason})"
        raise InputError(text.replace(scratch, str(folder)) if scratch else text) from error
