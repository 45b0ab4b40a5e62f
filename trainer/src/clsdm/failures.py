"""The kinds of failures, and what their user can do: for the worker's answers and the command line's last line alike."""

import errno
import socket
import traceback
from collections.abc import Iterator
from typing import Any

from clsdm.errors import InputError, Remark, printable

KINDS = ("input", "settings", "memory", "device", "disk", "network", "server", "missing", "defect")
"""Kinds of errors: what was handed in, how to reach the server that is to do the work, memory, the GPU or its driver, the
disk, a download, that server itself, a Python package that is not installed, or this program."""
SETTINGS = ("address", "unencrypted", "key", "authority")
"""What must be known of a server: where it is, whether X-rays may travel there unencrypted, its key, and who vouches for it."""
FIELDS = ("model", "offer", "options", "device")
"""What an input can be about that others than the one who chose the X-rays may have to correct: the model, a model that is to be
added, how to reconstruct, and the device."""

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)
_NO_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "not enough memory", "bad_alloc")
_OF_GPU = ("CUDA", "cuDNN", "CUBLAS", "NVRTC", "HIP")


class SettingsError(InputError):
    """How the server that is to do the work can be reached is said wrongly.

    Attributes:
        field: one of :data:`SETTINGS`.
        reason: what is wrong with it, without the path of its file.
    """

    def __init__(self, field: str, reason: str, where: str = "", way_out: str = "") -> None:
        """``where``: the file, option or variable that holds it, which begins the message."""
        super().__init__(f"{where}: {reason}" if where else reason, way_out, field)
        self.reason = reason


class ServerError(ConnectionError):
    """The server that is to do the work cannot be reached, refuses, or falls silent.

    Attributes:
        field: the one of :data:`SETTINGS` that may be wrong, as the authority where it does not vouch for the server; or "".
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ReportedError(Exception):
    """A failure that another process tells of.

    Attributes:
        report: what it says, as :func:`described` gives it.
    """

    def __init__(self, report: Any) -> None:  # noqa: ANN401 - untrusted JSON
        report = report if isinstance(report, dict) else {}
        self.report = {name: str(report.get(name, "")) for name in ("kind", "message", "details")}
        if self.report["kind"] not in KINDS:
            self.report["kind"] = "defect"
        if report.get("field") in FIELDS:
            self.report["field"] = str(report["field"])
        super().__init__(self.report["message"])


def kind_of(error: BaseException) -> str:
    """Which of :data:`KINDS` an exception is."""
    if isinstance(error, ReportedError):
        return error.report["kind"]
    if isinstance(error, ServerError):
        return "server"
    causes, text = list(_causes(error)), str(error)
    if any(isinstance(each, OSError) and each.errno in _DISK_FULL for each in causes) or "disk full" in text:
        return "disk"
    if any(_no_memory(each) for each in causes):
        return "memory"
    if isinstance(error, SettingsError):
        return "settings"
    if isinstance(error, InputError) or (isinstance(error, OSError) and error.errno in _NO_PATH):
        return "input"
    if isinstance(error, ImportError):
        return "missing"
    if isinstance(error, RuntimeError) and any(each in text for each in _OF_GPU):
        return "device"
    if isinstance(error, OSError):
        of_network = type(error).__module__.startswith(("urllib", "http", "ssl", "socket"))
        return "network" if of_network or isinstance(error, (ConnectionError, TimeoutError)) else "disk"
    return "defect"


def described(error: Exception) -> dict[str, str]:
    """An exception as the parent is told: its kind (see :data:`KINDS`), a message, and details for a log.

    Where it is known what an input is about, also the "field" (see :data:`FIELDS`; of a server and of wrong settings,
    :data:`SETTINGS`).
    """
    if isinstance(error, ReportedError):
        return error.report
    if isinstance(error, SettingsError):
        return {"kind": "settings", "message": printable(error.reason), "details": "", "field": error.field}
    kind = kind_of(error)
    said = error.remark if isinstance(error, InputError) else Remark(str(error))
    message: str = said.changed(lambda text: " ".join(printable(text).splitlines()))
    message = message or type(error).__name__
    if kind in ("memory", "device", "defect") and not isinstance(error, InputError):
        message = f"{type(error).__name__}: {first_line(error)}"
    if kind == "network":
        message = printable(of_network(error))
    details = "" if kind in ("input", "server") else "".join(traceback.format_exception(error))
    about = {"field": error.field} if isinstance(error, (InputError, ServerError)) and error.field else {}
    return {"kind": kind, "message": message, "details": details, **about}


def in_words(error: Exception) -> str:
    """A failure in one line for somebody at a command line: what happened, and what to do."""
    kind, text = kind_of(error), first_line(error)
    if isinstance(error, InputError):
        return " ".join(str(error).split("\n"))  # all of it: a name in it may hold line ends
    if kind == "network":
        return of_network(error)
    if kind not in _TO_DO:
        return text
    happened, todo = _TO_DO[kind]
    if kind == "memory" and any(each in text for each in _OF_GPU):
        happened = "the GPU ran out of memory"
    return f"{happened} ({text}); {todo}"


def of_network(error: BaseException) -> str:
    """What is wrong with a download, in words: those of urllib are for programmers."""
    reason = getattr(error, "reason", error)
    if (status := getattr(error, "code", None)) is not None:
        return f"the server answers {status} {reason}".strip()
    if isinstance(reason, TimeoutError) or "timed out" in str(reason):
        return "no answer in time"
    if isinstance(reason, socket.gaierror):
        return "no server of that name is found"
    if isinstance(reason, ConnectionRefusedError):
        return "nothing answers at that address"
    if (verdict := getattr(reason, "verify_message", None)) is not None:
        return f"the server's certificate is not to be trusted: {verdict}"
    return getattr(reason, "strerror", None) or first_line(reason if isinstance(reason, Exception) else error)


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, what it was raised from, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _no_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(each in str(error) for each in _NO_MEMORY)


_TO_DO = {
    "memory": (
        "the computer ran out of memory",
        "use the CPU (--device cpu), fewer samples at once (--at-once 1) or the mean (--product mean), "
        "or close other programs",
    ),
    "device": ("the GPU cannot be used", "use the CPU (--device cpu), or update the driver or PyTorch"),
    "disk": ("the disk failed", "make room, or name another folder"),
    "missing": ("a Python package is missing", "install it"),
}
