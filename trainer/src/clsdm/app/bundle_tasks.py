"""The tasks of the worker on bundles, see ``tasks``: to check, download and install one. They need no torch."""

from pathlib import Path

from clsdm.app.worker import Answer
from clsdm.errors import InputError, about
from clsdm.files.atomic import write_atomically, written_together
from clsdm.files.digest import sha256_of
from clsdm.files.names import given_path, inside, plain_name
from clsdm.files.strict_json import to_plain
from clsdm.progress import Report


@about("offer")
def check_bundle(folder: Path, report: Report, bundle: str) -> Answer:
    """Check every hash of a bundle; answers with its path, its size and the whole file's SHA-256 ("" for a folder)."""
    from clsdm.model.bundle_files import check_files, read_manifest, reader

    report("verify", 0, 1)
    path = given_path(bundle, "bundle")
    files = read_manifest(path, reader(path))[1]
    check_files(path, files)
    report("verify", 1, 1)
    size = path.stat().st_size if path.is_file() else sum(entry.bytes for entry in files.values())
    return {"path": str(path), "bytes": size, "file_sha256": sha256_of(path) if path.is_file() else ""}


def fetch(folder: Path, report: Report, url: str) -> Answer:
    """Download a bundle archive, see ``clsdm.app.download``; answers as :func:`check_bundle` does."""
    from clsdm.app.download import download

    target = folder / "download.zip"
    download(url, target, report)
    return check_bundle(folder, report, str(target))


def index(folder: Path, report: Report, url: str) -> Answer:
    """An index of models at an https address; answers as ``clsdm.model.index.Index``."""
    from clsdm.app.download import fetched
    from clsdm.limits import JSON_BYTES
    from clsdm.model.index import index_of

    report("download", 0, 1)
    return to_plain(index_of(fetched(url, JSON_BYTES), url))


def install(folder: Path, report: Report, bundle: str, into: str, name: str) -> Answer:
    """Copy a bundle (folder or archive) to ``into/name``, whole or not at all, and check it there.

    What is there already, as a folder or as an archive, stays, and no second one comes.
    """
    from clsdm.model.bundle_files import copy_bundle

    source, store = given_path(bundle, "bundle"), given_path(into, "into")
    places = [inside(store, plain_name(each, "name"), "name") for each in (name, f"{name}.zip")]
    for place in places:
        if place.exists():
            raise InputError(f"{place}: is there already; delete it first")
    target = places[0 if source.is_dir() else 1]

    def copy(part: Path) -> None:
        copy_bundle(source, part)
        check_bundle(folder, report, str(part))

    report("copy", 0, 1)
    needed = check_bundle(folder, report, bundle)["bytes"]
    if source.is_dir():
        with written_together(target, needed_bytes=needed) as scratch:
            copy(scratch)
    else:
        write_atomically(target, copy, needed)
    report("copy", 1, 1)
    return {"path": str(target)}
