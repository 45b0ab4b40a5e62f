"""Names are not paths, and a path that is given leads to a regular file: the checks of every name from outside.

A name out of a request, a bundle, an archive or the header of an image goes through :func:`plain_name` or :func:`inside`
before anything is opened, and every file to be read through :func:`regular_file`: a FIFO would be waited for without
end, and a device read without end.
"""

import os
import re
import stat
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from clsdm.errors import InputError

NAME_BYTES = 255
_NOT_ON_WINDOWS = frozenset('<>:"/\\|?*')
_DEVICES = frozenset(
    {
        "CON",
        "PRN",
        "AUX",
        "NUL",
        "CONIN$",
        "CONOUT$",
        *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"),
    }
)


def plain_name(name: str, where: str) -> str:
    """``name`` if it can be that of one file in a given folder on every system.

    Args:
        name: from outside.
        where: what named it, begins the message.

    Raises:
        InputError: empty, with a separator, ``..``, a drive, a control character, or the name of a device.
    """
    reason = _wrong(name)
    if reason:
        raise InputError(f"{where}: {name!r} {reason}; expected the plain name of a file")
    return name


def inside(folder: Path, name: str, where: str) -> Path:
    """The path of ``name``, one or more plain names joined by ``/``, in ``folder``.

    Args:
        folder: that it must not lead out of, by a link neither.
        name: from outside.
        where: what named it, begins the message.

    Raises:
        InputError: it is no such name, or leads out of the folder.
    """
    for part in name.split("/"):
        plain_name(part, where)
    path = folder / name
    if folder.resolve() not in path.resolve().parents:
        raise InputError(f"{where}: {name!r} is a link to outside of {folder}")
    return path


def given_path(text: str, where: str) -> Path:
    """A path that a user gave.

    Args:
        text: as given.
        where: the option or field, begins the message.

    Raises:
        InputError: empty, which would be the current folder, not possible in a path, or absolute on another system.
    """
    if not text:
        raise InputError(f"{where}: is empty; expected a path")
    try:
        possible = b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise InputError(f"{where}: {text!r} holds a character that no path can hold")
    if of_another_system(text, windows=os.name == "nt"):
        raise InputError(f"{where}: {text!r} is a path of another system; expected one of this computer")
    return Path(text)


def of_another_system(text: str, *, windows: bool) -> bool:
    r"""Whether a path is absolute on Windows but not on POSIX, or the other way.

    On POSIX ``C:\x`` would be a new file of that name in the current folder; on Windows ``/x`` lies on whatever drive is
    the current one.

    Args:
        text: the path.
        windows: whether it is to be used there.
    """
    if windows:
        return text.startswith("/") and not text.startswith("//")
    return re.match(r"[A-Za-z]:[\\/]|\\\\", text) is not None


def regular_file(path: str | os.PathLike[str], kind: str = "file") -> Path:
    """``path`` if it leads to a file that can be read to its end.

    Args:
        path: as given; links are followed.
        kind: of file, for messages.

    Raises:
        InputError: missing, a folder, or a FIFO, socket or device.
    """
    path = given_path(os.fspath(path), kind)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: a folder, expected a {kind}")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: a {_SPECIAL.get(stat.S_IFMT(mode), 'special file')}, expected a {kind}")
    return path


def regular_files(folder: Path, most: int) -> list[Path]:
    """The files right in a folder, by name, without FIFOs, sockets and devices.

    Raises:
        InputError: it cannot be read, or holds more than ``most``.
    """
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_file()]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from None
    if len(found) > most:
        raise InputError(f"{folder}: holds {len(found):,} files; expected at most {most:,}")
    return sorted(found)


def files_below(folder: Path, most: int) -> list[Path]:
    """The regular files in a folder and in those below it, by name.

    Links to folders are followed, after all that lies in the folder itself: a study may be put together of links. Each
    folder is looked at once, whatever leads to it, so that links that go round end.

    Raises:
        InputError: more than ``most``, so that this is not the folder that was meant.
    """
    found: list[Path] = []
    seen: set[str] = set()
    waiting = deque([os.fspath(folder)])
    while waiting:
        for place, folders, names in os.walk(waiting.popleft()):
            if (real := os.path.realpath(place)) in seen:
                folders.clear()
                continue
            seen.add(real)
            folders.sort()
            waiting += [path for name in folders if os.path.islink(path := os.path.join(place, name))]  # noqa: PTH114, PTH118
            paths = (Path(place) / name for name in names)
            found += [path for path in paths if path.is_file()]
            if len(found) > most:
                raise InputError(f"{folder}: holds more than {most:,} files; expected the folder that was meant")
    return sorted(found)


def refuse_overwriting(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """No output is an input, by another name, a link or another case of letters neither.

    Args:
        outputs: files that will be written, or folders that new files will be put into.
        inputs: files that are read, or folders of a series.

    Raises:
        InputError: names the two.
    """
    known = {_identity(path): path for path in inputs if path.exists()}
    for output in outputs:
        if output.exists() and (found := known.get(_identity(output))) is not None:
            raise InputError(f"{output}: would be written over {found}, which is an input; name another output")


def refuse_replacing(files: Iterable[Path], is_ours: Callable[[Path], bool]) -> None:
    """What is there under the name of an output was written by this program; anything else is the user's, and stays.

    Args:
        files: that will be written.
        is_ours: whether a file that is there may be replaced.

    Raises:
        InputError: names the first that may not.
    """
    for file in files:
        if os.path.lexists(file) and not file.is_dir() and not is_ours(file):
            raise InputError(f"{file}: is there and was not written by this program; name another output")


def nameless(text: str, names: Mapping[str, str]) -> str:
    """A text for somebody else to read: paths in it, which may say whose files they are, are replaced.

    All at once: a replacement may hold what another path is called, as the file "Chest X-ray 2.dcm" does.

    Args:
        text: a warning, for example.
        names: what to say in place of each path.
    """
    paths = "|".join(re.escape(path) for path in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w/\\.])(?:{paths})(?!\w)", lambda found: names[found[0]], text) if paths else text


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _wrong(name: str) -> str:
    """The reason why ``name`` is no plain name; "" where it is one."""
    if name.strip(". ") == "":
        return "names no file"
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
        return "holds a control character"
    if not _NOT_ON_WINDOWS.isdisjoint(name):
        return "leads elsewhere or holds a character that file names cannot"
    if name[-1] in ". " or name.split(".")[0].strip().upper() in _DEVICES:
        return "is another file, or a device, on Windows"
    return "is too long" if len(name.encode("utf-8")) > NAME_BYTES else ""


_SPECIAL = {stat.S_IFIFO: "FIFO", stat.S_IFSOCK: "socket", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}
