"""Files known by their content: a hash tells the same file wherever it lies, and says nothing about whose it is."""

import hashlib
import itertools
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from clsdm.errors import InputError

BLOCK_BYTES = 1 << 20
SEAL = "manifest_sha256"
"""Field of a manifest that holds the hash of all others."""
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


def sealed(table: dict[str, Any]) -> dict[str, Any]:
    """A manifest with the hash of its own content, however it will be laid out; a seal that it had is replaced."""
    content = {name: value for name, value in table.items() if name != SEAL}
    plain = json.loads(json.dumps(content))  # of what will be read: lists for tuples
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return content | {SEAL: hashlib.sha256(text.encode("ascii")).hexdigest()}


def unsealed(table: dict[str, Any], where: str, todo: str = "") -> dict[str, Any]:
    """A manifest that was read, without its own hash.

    Args:
        table: as it was read.
        where: file, begins the message.
        todo: ends the message.

    Raises:
        InputError: it has no hash, or was altered since.
    """
    said = table.get(SEAL)
    if said is None:
        raise InputError(f"{where}: {SEAL} is missing{todo}")
    if (found := sealed(table)[SEAL]) != said:
        raise InputError(f"{where}: was altered: its SHA-256 is {found}, {SEAL} says {said!r:.80}{todo}")
    return {name: value for name, value in table.items() if name != SEAL}


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
