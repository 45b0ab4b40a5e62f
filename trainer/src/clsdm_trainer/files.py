"""Text and JSON written whole, and hashes of files, with one-line errors."""

import json
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


def sha256_of(*paths: Path) -> str:
    """Hash of a file, or of several in the given order.

    Raises:
        InputError: a file cannot be read.
    """
    try:
        return digest.sha256_of(*paths)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
