"""One process trains in a run's folder at a time; two would write each other's checkpoints and logs.

The lock is the operating system's, on a file in the folder, so that it ends with the process that holds it, however that
ends. Who holds it stands beside it, for the message only.
"""

import json
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from clsdm.errors import InputError
from clsdm_trainer.files import write_json

LOCK, HOLDER = ".lock", ".holder.json"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold a run's folder, which is made if need be; without anything in it, it is gone again afterwards.

    Raises:
        InputError: another process holds it, or it cannot be made.
    """
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(
            f"{folder}: {_holder(folder)} is training in this folder; wait for it, or choose another --run folder"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be made and locked ({error.strerror or error})") from None
    try:
        write_json(folder / HOLDER, {"process": os.getpid(), "host": platform.node()})
        yield
    finally:
        (folder / HOLDER).unlink(missing_ok=True)
        lock.release()
        if missing and [each.name for each in folder.iterdir()] in ([], [LOCK]):
            (folder / LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                for each in missing:
                    each.rmdir()


def _holder(folder: Path) -> str:
    try:
        held = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {int(held['process'])} on {str(held['host'])!r}"
    except (OSError, ValueError, LookupError, TypeError):
        return "another process"


@contextmanager
def only_one_of(folder: Path, fabric: Fabric) -> Iterator[None]:
    """The same for a group of processes that train together: the first one holds the folder for all."""
    held = only_one(folder)
    in_first(fabric, held.__enter__)
    try:
        yield
    finally:
        if fabric.is_global_zero:
            held.__exit__(None, None, None)


def in_first(fabric: Fabric, action: Callable[[], object]) -> None:
    """Do something in the first of several processes only, and fail in all of them where it fails.

    Raises:
        InputError: of the action.
    """
    problem: str | None = None
    if fabric.is_global_zero:
        try:
            action()
        except InputError as error:
            problem = str(error)
    problem = fabric.broadcast(problem)
    if problem is not None:
        raise InputError(problem)
