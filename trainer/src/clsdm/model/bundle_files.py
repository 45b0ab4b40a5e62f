"""The files of a bundle and their hashes; no tensors, no torch. What the files mean is in ``bundle``.

A bundle is a folder or a zip archive with a manifest, ``bundle.json``, that names every other file with its size and
SHA-256. Nothing in it is ever executed, and no name in it leads outside.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain

SCHEMA = 1
MANIFEST, WEIGHTS, CARD = "bundle.json", "model.safetensors", "MODEL_CARD.md"
MAX_FILE_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle."""

    sha256: str
    bytes: int


def read_manifest(path: Path, read: Callable[[str], bytes]) -> tuple[dict[str, Any], dict[str, FileEntry]]:
    """The manifest as it stands, and the other files it names.

    Args:
        path: of the bundle, for messages.
        read: gives the bytes of one of its files, see :func:`reader`.

    Raises:
        InputError: missing, damaged, of an unknown version, or it names a file outside.
    """
    manifest_name = f"{path}/{MANIFEST}"
    try:
        table = json.loads(read(MANIFEST).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{manifest_name}: not JSON ({error})") from None
    if not isinstance(table, dict) or table.get("schema") != SCHEMA:
        found = table.get("schema") if isinstance(table, dict) else table
        raise InputError(f"{manifest_name}: schema version {found!r} is unknown; this program reads {SCHEMA}")
    files = {
        _inside(name, manifest_name): from_plain(FileEntry, entry, f"{manifest_name}: files.{name}")
        for name, entry in as_table(table.pop("files", None), f"{manifest_name}: files").items()
    }
    if WEIGHTS not in files:
        raise InputError(f"{manifest_name}: files: {WEIGHTS} is missing")
    return table, files


def check_files(path: Path, files: dict[str, FileEntry], read: Callable[[str], bytes]) -> None:
    """Check every file's size and SHA-256.

    Args:
        path: of the bundle, for messages.
        files: what the manifest says.
        read: gives the bytes of one of its files.

    Raises:
        InputError: a file is missing or altered.
    """
    for name, entry in files.items():
        data = read(name)
        if len(data) != entry.bytes:
            raise InputError(f"{path}/{name}: has {len(data)} bytes, the manifest says {entry.bytes}")
        found = hashlib.sha256(data).hexdigest()
        if found != entry.sha256:
            raise InputError(f"{path}/{name}: SHA-256 is {found}, the manifest says {entry.sha256}")


def as_table(value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 - untrusted JSON
    """``value`` if it is a JSON object.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {value!r}")
    return value


def _inside(name: str, where: str) -> str:
    """A plain relative file name, or an error."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ":" in name or ".." in parts:
        raise InputError(f"{where}: files: {name!r} lies outside the bundle")
    return name


def reader(path: Path) -> Callable[[str], bytes]:
    """A function that reads one file of a folder or archive."""
    if path.is_dir():
        return lambda name: _read_from_folder(path, name)
    if not path.exists():
        raise InputError(f"{path}: no such bundle (expected a folder or zip archive with {MANIFEST})")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a bundle; expected a folder or zip archive with {MANIFEST}")
    return lambda name: _read_from_zip(path, name)


def _read_from_folder(folder: Path, name: str) -> bytes:
    file = folder / name
    if folder.resolve() not in file.resolve().parents:
        raise InputError(f"{file}: a link to outside the bundle")
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); the bundle is incomplete") from None


def _read_from_zip(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise InputError(f"{path}: {name} is larger than {MAX_FILE_BYTES} bytes")
            return archive.read(name)
    except KeyError:
        raise InputError(f"{path}: holds no {name}; the bundle is incomplete") from None
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
        raise InputError(f"{path}: {name} cannot be read ({error})") from None


def default_bundle_path() -> Path:
    """The bundle that comes with the project: ``Resources/Models`` of the source tree.

    Raises:
        InputError: it is not there (a wheel without the source tree).
    """
    for parent in Path(__file__).resolve().parents:
        found = sorted((parent / "Resources" / "Models").glob(f"*/{MANIFEST}"))
        if found:
            return found[0].parent
    raise InputError("no bundle is embedded in this installation; name one with --bundle")
