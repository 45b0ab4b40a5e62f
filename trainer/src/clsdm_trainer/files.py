"""Text and JSON written whole, and hashes of files, with one-line errors."""

import json
from collections.abc import Mapping
from pathlib import Path

from clsdm.errors import InputError
from clsdm.files import digest
from clsdm.files.atomic import write_atomically


def write_json(path: Path, content: object) -> None:
    """Write JSON atomically with the same bytes on every platform.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically, with the newlines of ``text`` as they are.

    Raises:
        InputError: the file cannot be written.
    """

    def write(name: Path) -> None:
        name.write_bytes(text.encode())

    write_atomically(path, write)


def marks(name: str) -> tuple[str, str]:
    """The lines around a part of a page that a command writes."""
    return f"<!-- {name}:begin -->", f"<!-- {name}:end -->"


def write_marked(path: Path, parts: Mapping[str, str]) -> None:
    """Replace the text between the marks of each part, whatever else the page holds.

    Raises:
        InputError: unreadable, or the marks of a part are not there.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    for name, part in parts.items():
        begin, end = marks(name)
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise InputError(f"{path}: expected the marks {begin} and {end} around what is written there")
        text = f"{before}{begin}\n{part}\n{end}{after}"
    write_text(path, text)


def sha256_of(*paths: Path) -> str:
    """Hash of a file, or of several in the given order.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        return digest.sha256_of(*paths)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
