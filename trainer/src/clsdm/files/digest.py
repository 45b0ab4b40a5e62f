"""Files known by their content: a hash tells the same file wherever it lies, and says nothing about whose it is."""

from __future__ import annotations

import hashlib
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

BLOCK_BYTES = 1 << 20
MOST_LOOKED_AT = 20_000
"""Files, in a search for some by their content."""


def sha256_of(*paths: Path) -> str:
    """SHA-256 of a file's content, or of those of several in the given order, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


def mark_of(path: Path) -> str:
    """The mark by which :func:`find` knows a file, ``sha256:HASH:BYTES``."""
    return f"sha256:{sha256_of(path)}:{path.stat().st_size}"


def is_mark(text: str) -> bool:
    """Whether a text is one of :func:`mark_of`."""
    kind, _, rest = text.partition(":")
    digest, _, size = rest.partition(":")
    return kind == "sha256" and len(digest) == 64 and size.isdecimal()


def find(marks: Iterable[str], places: Iterable[Path]) -> dict[str, Path]:
    """Files by their marks, as far as they are found.

    Args:
        marks: of :func:`mark_of`.
        places: files, and folders that are searched with those right in them; in the order in which they are tried.

    Returns:
        The first file with each mark.
    """
    wanted = dict.fromkeys(marks)
    sizes = {int(mark.rpartition(":")[2]) for mark in wanted}
    found: dict[str, Path] = {}
    for path, size in itertools.islice(_files(places), MOST_LOOKED_AT):
        if len(found) == len(wanted):
            break
        if size in sizes:
            with suppress(OSError):
                mark = f"sha256:{sha256_of(path)}:{size}"
                if mark in wanted:
                    found.setdefault(mark, path)
    return found


def _files(places: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """The regular files in these places with their sizes, each once."""
    seen: set[Path] = set()
    for place in places:
        for path in _inside(place, depth=1):
            with suppress(OSError):
                known = path.stat()
                if stat.S_ISREG(known.st_mode) and path not in seen:
                    seen.add(path)
                    yield path, known.st_size


def _inside(place: Path, depth: int) -> Iterator[Path]:
    """A file itself, or what is in a folder and in the folders right in it."""
    if not place.is_dir():
        yield place
        return
    with suppress(OSError), os.scandir(place) as entries:
        folders = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                yield Path(entry.path)
        for folder in folders if depth else ():
            yield from _inside(folder, depth - 1)
