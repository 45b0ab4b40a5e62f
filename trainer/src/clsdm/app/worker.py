"""The worker ``clsdm serve``: keeps torch and a model loaded and works for another program, 3D Slicer above all.

One JSON line on standard input is a request, ``{"id": 7, "task": "reconstruct", ...}``; JSON lines on standard output
answer it: any number of ``{"id": 7, "stage": "sample", "i": 3, "n": 20}`` and ``{"id": 7, "log": "..."}``, then
``{"id": 7, "result": {...}}`` or ``{"id": 7, "error": {"kind": ..., "message": ..., "details": ...}}``. The first line of
all is ``{"pid": ..., "protocol": 1}``. Arrays travel as .npy files in ``folder/<id>``; what a task is given and gives is
documented in ``worker_tasks``.

Nobody has to look after it: it ends when standard input closes, whatever it is doing, so it cannot outlive its parent;
it ends after ``idle`` seconds without a request, which frees the GPU; and it removes its folder when it goes.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import queue
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clsdm.errors import InputError

PROTOCOL = 1
KINDS = ("input", "memory", "device", "disk", "network", "missing", "defect")
"""What an error is about: what was handed in, memory, the GPU or its driver, the disk, a download, a Python package that
is not installed, or this program."""

NICER, NICEST = 10, 19
BELOW_NORMAL_PRIORITY_CLASS = 0x4000
"""On Windows, from its processthreadsapi."""

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
_NO_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "not enough memory")

Answer = dict[str, Any]
Emit = Callable[[Answer], None]
Task = Callable[..., Answer]


class Requests:
    """Requests as they come in on standard input, read on a thread of its own so that its end is seen at once.

    Attributes:
        ended: set when no more will come.
    """

    def __init__(self, descriptor: int, on_end: Callable[[], None]) -> None:
        self.ended = threading.Event()
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self._on_end = on_end
        threading.Thread(target=self._read, args=(descriptor,), daemon=True).start()

    def next(self, idle_s: float) -> bytes | None:
        """The next line; None when there will be none, or none came for ``idle_s`` seconds."""
        try:
            return self._waiting.get(timeout=idle_s)
        except queue.Empty:
            return None

    def _read(self, descriptor: int) -> None:
        rest = b""
        while block := _read_block(descriptor):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                self._waiting.put(line)
        self.ended.set()
        self._waiting.put(None)
        self._on_end()


def _read_block(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""


def serve(
    next_line: Callable[[float], bytes | None], emit: Emit, folder: Path, idle_s: float, tasks: Mapping[str, Task]
) -> None:
    """Answer requests until there are no more.

    Args:
        next_line: gives the next request, or None when it is over; takes the seconds to wait.
        emit: sends one answer.
        folder: for arrays.
        idle_s: how long to wait for a request.
        tasks: what can be asked for.
    """
    while (line := next_line(idle_s)) is not None:
        if line.strip():
            answer(line, emit, folder, tasks)


def answer(line: bytes, emit: Emit, folder: Path, tasks: Mapping[str, Task]) -> None:
    """Answer one request, with an error whatever goes wrong: one bad request must not end the worker."""
    number: Any = None
    try:
        request = json.loads(line)
        number, name = request.pop("id"), request.pop("task")
        if name not in tasks:
            raise InputError(f"task: expected one of {', '.join(tasks)}, got {name!r}")
        own = folder / str(int(number))
        own.mkdir(parents=True, exist_ok=True)

        def report(stage: str, done: int, total: int) -> None:
            emit({"id": number, "stage": stage, "i": done, "n": total})

        emit({"id": number, "result": tasks[name](own, report, **request)})
    except Exception as error:  # noqa: BLE001 - the border of the process: whatever it is, the parent must hear of it
        emit({"id": number, "error": described(error)})


def described(error: Exception) -> dict[str, str]:
    """An exception as the parent is told: its kind (see :data:`KINDS`), a message, and details for a log."""
    kind = kind_of(error)
    message = str(error) or type(error).__name__
    if kind in ("memory", "device", "defect"):
        message = f"{type(error).__name__}: {message.strip().splitlines()[0]}"
    details = "" if kind == "input" else "".join(traceback.format_exception(error))
    return {"kind": kind, "message": message, "details": details}


def kind_of(error: Exception) -> str:
    """Which of :data:`KINDS` an exception is."""
    causes = [each for each in (error, error.__cause__, error.__context__) if each is not None]
    text = str(error)
    if any(isinstance(each, OSError) and each.errno in _DISK_FULL for each in causes) or "disk full" in text:
        return "disk"
    if isinstance(error, InputError):
        return "input"
    if isinstance(error, ImportError):
        return "missing"
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(each in text for each in _NO_MEMORY)):
        return "memory"
    if isinstance(error, RuntimeError) and any(each in text for each in ("CUDA", "cuDNN", "CUBLAS", "NVRTC")):
        return "device"
    if isinstance(error, OSError):
        return "network" if type(error).__module__.startswith(("urllib", "http", "ssl", "socket")) else "disk"
    return "defect"


def main(arguments: Sequence[str] | None = None) -> int:
    """``clsdm serve``: work until standard input closes or nobody asks any more."""
    parser = argparse.ArgumentParser(prog="clsdm serve", description=__doc__.splitlines()[0])
    add_arguments(parser)
    return run_options(parser.parse_args(arguments))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``clsdm serve``."""
    parser.add_argument("--folder", required=True, help="private folder for arrays; removed at the end")
    parser.add_argument("--idle", type=float, default=600.0, metavar="S", help="end after S idle seconds (%(default)s)")


def run_options(options: argparse.Namespace) -> int:
    """Serve as the command line asks."""
    run(Path(options.folder), options.idle)
    return 0


def run(folder: Path, idle_s: float) -> None:
    """Serve on this process's standard streams, and end the process."""
    voice = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is a log, not an answer
    sys.stdout = sys.stderr
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the parent's to handle
    _step_back()
    lock = threading.Lock()

    def leave() -> None:
        with contextlib.suppress(OSError):
            os.chdir(folder.parent)  # Windows keeps a folder that a process stands in
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(0)  # at once, even from inside a long convolution; there is nothing else to tidy up

    def emit(message: Answer) -> None:
        try:
            with lock:
                voice.write(json.dumps(message, allow_nan=False).encode("ascii") + b"\n")
                voice.flush()
        except OSError:  # nobody listens any more
            leave()

    emit({"pid": os.getpid(), "protocol": PROTOCOL})
    requests = Requests(0, leave)
    from clsdm.app.tasks import TASKS  # light: each task imports what it needs

    serve(requests.next, emit, folder, idle_s, TASKS)
    leave()


def _step_back() -> None:
    """Run after the parent: where this process keeps every core busy, the parent's window still answers at once.

    Slicer on Linux and macOS gives its own window the lowest priority (``SetCurrentThreadPriorityToBackground``, meant for
    another thread), and a child inherits it; there only the scheduler's class for idle times is below.
    """
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.SetPriorityClass.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)
    elif os.nice(NICER) >= NICEST and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
