"""The files of a bundle and their hashes; no tensors, no torch. What the files mean is in ``bundle``.

A bundle is a folder, or a zip archive of one or of what is in one, with a manifest, ``bundle.json``, that names every other
file with its size and SHA-256, and its own hash. Nothing in it is ever executed, and no name in it leads outside.

The bundles that come with the program are the folders of ``Resources/Models``, in the package (a wheel), beside it (Slicer) or in
its checkout. ``index.json`` there names them, the default first, and nothing else says which one is the default.
"""

import contextlib
import hashlib
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from clsdm.errors import InputError, reading
from clsdm.files.digest import unsealed
from clsdm.files.names import given_path, inside, plain_name, regular_file
from clsdm.files.strict_json import from_plain, parse_json, read_json
from clsdm.limits import BUNDLE_FILES, JSON_BYTES, WEIGHTS_BYTES, check_bytes, check_expansion
from clsdm.model.index import Index

BLOCK_BYTES = 1 << 20
SCHEMA = 2
MANIFEST, WEIGHTS, CARD = "bundle.json", "model.safetensors", "MODEL_CARD.md"
CALIBRATION = "calibration.json"
"""Not every bundle has it."""
MODELS, INDEX = "Resources/Models", "index.json"


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
    table = parse_json(read(MANIFEST), manifest_name)
    version = table.get("schema") if isinstance(table, dict) else None
    if type(version) is not int or version != SCHEMA:
        raise InputError(f"{manifest_name}: schema version {version!r:.40} is unknown; this program reads {SCHEMA}")
    table = unsealed(table, manifest_name)
    entries = as_table(table.pop("files", None), f"{manifest_name}: files")
    if len(entries) > BUNDLE_FILES:
        raise InputError(f"{manifest_name}: files: {len(entries)} of them; expected at most {BUNDLE_FILES}")
    files = {
        _checked(name, manifest_name): from_plain(FileEntry, entry, f"{manifest_name}: files.{name}")
        for name, entry in entries.items()
    }
    if WEIGHTS not in files:
        raise InputError(f"{manifest_name}: files: {WEIGHTS} is missing")
    return table, files


def check_files(path: Path, files: dict[str, FileEntry]) -> None:
    """Check every file's size and SHA-256, in little memory whatever the sizes.

    Args:
        path: of the bundle.
        files: what the manifest says.

    Raises:
        InputError: a file is missing or altered.
    """
    for name, entry in files.items():
        digest, count = hashlib.sha256(), 0
        with _open(path, name) as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
                count += len(block)
        if count != entry.bytes:
            raise InputError(f"{path}/{name}: has {count} bytes, the manifest says {entry.bytes}")
        if digest.hexdigest() != entry.sha256:
            raise InputError(f"{path}/{name}: SHA-256 is {digest.hexdigest()}, the manifest says {entry.sha256}")


def as_table(value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 - untrusted JSON
    """``value`` if it is a JSON object.

    Raises:
        InputError: it is none.
    """
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {value!r}")
    return value


def _checked(name: str, where: str) -> str:
    """A plain name, or several joined by slashes, or an error."""
    try:
        for part in name.split("/"):
            plain_name(part, where)
    except InputError:
        raise InputError(f"{where}: files: {name!r} lies outside the bundle, or is no name of a file") from None
    return name


def reader(path: Path) -> Callable[[str], bytes]:
    """A function that reads one file of a folder or archive.

    Raises:
        InputError: neither is there.
    """
    if not path.is_dir():
        _check_archive(path)

    def read(name: str) -> bytes:
        with _open(path, name) as file:
            return file.read()

    return read


def _check_archive(path: Path) -> None:
    if not path.exists():
        names = ", ".join(embedded_bundles())
        expected = f"a folder or zip archive with {MANIFEST}" + (
            f", or the name of an embedded one: {names}" if names else ""
        )
        raise InputError(f"{path}: no such bundle (expected {expected})")
    if not zipfile.is_zipfile(regular_file(path, "bundle")):
        raise InputError(f"{path}: not a bundle; expected a folder or zip archive with {MANIFEST}")


def _open(path: Path, name: str) -> AbstractContextManager[IO[bytes]]:
    """One file of a folder or archive."""
    return _open_in_folder(path, name) if path.is_dir() else _open_in_zip(path, name)


def copy_bundle(source: Path, target: Path) -> None:
    """Copy a bundle: the archive, or of a folder the files that its manifest names.

    Raises:
        InputError: damaged, or a file of it cannot be read.
        OSError: the target cannot be written.
    """
    if not source.is_dir():
        shutil.copyfile(regular_file(source, "bundle"), target)
        return
    read = reader(source)
    for name in (MANIFEST, *read_manifest(source, read)[1]):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(read(name))


def remove_bundle(path: Path) -> None:
    """Delete a bundle: the archive, or of a folder the files that its manifest names, and the folder once it is empty.

    What a name leads to through a linked folder lies elsewhere and is not the bundle's; it stays, and so does the link.

    Raises:
        InputError: the manifest is damaged, so that it is not known which files are its own.
        OSError: a file cannot be deleted.
    """
    if not path.is_dir():
        path.unlink()
        return
    top = path.resolve()
    there = ((name, (path / name).parent.resolve()) for name in read_manifest(path, reader(path))[1])
    names = [name for name, parent in there if top in (parent, *parent.parents)]
    for name in (*names, MANIFEST):
        (path / name).unlink(missing_ok=True)
    for folder in sorted({path / name for each in names for name in PurePosixPath(each).parents}, reverse=True):
        with contextlib.suppress(OSError):  # what else lies in it is not the bundle's
            folder.rmdir()


def _most_bytes(name: str) -> int:
    return JSON_BYTES if name == MANIFEST else WEIGHTS_BYTES


@contextmanager
def _open_in_folder(folder: Path, name: str) -> Iterator[IO[bytes]]:
    file = inside(folder, name, f"{folder}")
    if not file.exists():
        raise InputError(f"{file}: no such file; the bundle is incomplete")
    try:
        regular_file(file, "file of a bundle")
        check_bytes(file.stat().st_size, _most_bytes(name), file, "a bundle")
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); the bundle is incomplete") from None


@contextmanager
def _open_in_zip(path: Path, name: str) -> Iterator[IO[bytes]]:
    with reading(f"{path}: {name}", "bundle archive"), zipfile.ZipFile(path) as archive:
        try:
            entry = archive.getinfo(_top_of(archive) + name)
        except KeyError:
            raise InputError(f"{path}: holds no {name}; the bundle is incomplete") from None
        check_bytes(entry.file_size, _most_bytes(name), f"{path}: {name}", "a bundle")
        check_expansion(entry.compress_size, entry.file_size, f"{path}: {name}")
        with archive.open(entry) as stream:
            yield stream


def _top_of(archive: zipfile.ZipFile) -> str:
    """Where in an archive a bundle's files lie: at its top, "", or in the one folder that was packed with its name."""
    names = archive.namelist()
    tops = {name.partition("/")[0] for name in names if name.count("/") == 1 and name.endswith(f"/{MANIFEST}")}
    return f"{tops.pop()}/" if MANIFEST not in names and len(tops) == 1 else ""


def embedded_bundles() -> dict[str, Path]:
    """Folders of the bundles that come with the program by their names, the default first; empty where there are none.

    Raises:
        InputError: the index is damaged.
    """
    index = index_file()
    if index is None:
        return {}
    return {name: inside(index.parent, name, str(index)) for name in read_index(index).models}


def index_file() -> Path | None:
    """The index that ships; None where no model does. Of the folders around the program none is asked: they may be anybody's."""
    package = Path(__file__).resolve().parents[1]
    homes = [package, package.parent]  # a wheel's; Slicer's
    if package.parts[-3:-1] == ("trainer", "src"):
        homes.append(package.parents[2])  # a checkout's
    return next((index for home in homes if (index := home / MODELS / INDEX).exists()), None)


def read_index(path: Path) -> Index:
    """An index of models.

    Raises:
        InputError: it is none.
    """
    return from_plain(Index, read_json(path, "index of models"), str(path))


def bundle_path(wanted: str | os.PathLike[str] | None = None) -> Path:
    """Where a bundle lies.

    Args:
        wanted: folder or archive, or the name of an embedded bundle; None for the embedded default. A name that is a bundle
            in the current folder means that one.

    Raises:
        InputError: None, and no bundle is embedded; or no possible path.
    """
    embedded = embedded_bundles()
    if wanted is None:
        if not embedded:
            raise InputError("no bundle is embedded in this installation", "name one with --bundle")
        return next(iter(embedded.values()))
    path = given_path(os.fspath(wanted), "bundle")
    return path if path.is_file() or (path / MANIFEST).exists() else embedded.get(os.fspath(wanted), path)
