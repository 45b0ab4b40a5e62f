"""The worker ``clsdm serve``: keeps torch and a model loaded and works for another program, 3D Slicer above all.

One JSON line on standard input is a request, ``{"id": 7, "task": "reconstruct", ...}``; JSON lines on standard output
answer it: any number of ``{"id": 7, "stage": "sample", "i": 3, "n": 20}``, ``{"id": 7, "log": "..."}`` and, of a task with
many results, ``{"id": 7, "told": {...}}`` for each, then
``{"id": 7, "result": {...}}`` or ``{"id": 7, "error": {"kind": ..., "message": ..., "details": ...}}``. An id is a whole
number; what cannot be read as a request is answered with the id null; so is, in place of its first line, a server's address or
key with which it could not begin (kind "settings"). Twice a second the last progress is said again, with
``"load": {...}``, see ``load.Load``. The first line of all is ``{"pid": ...,
"protocol": 2, "folder": ...}``: arrays travel as .npy files in that folder, which the worker makes for itself in the one
that it is given. Those of the last ``KEPT_ANSWERS`` answers are there. What a task is given and gives is documented in
``tasks``.

Nobody has to look after it: it ends when standard input closes, whatever it is doing, so it cannot outlive its parent; it
ends after ``idle`` seconds without a request, which frees the GPU; and it removes its folder when it goes, told to
terminate or not. What a worker left that was killed, the next one in the same folder removes.
"""

import argparse
import contextlib
import json
import math
import os
import reprlib
import shutil
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clsdm.app import load
from clsdm.app.lines import Requests
from clsdm.errors import InputError, printable
from clsdm.failures import KINDS, SettingsError, described, kind_of
from clsdm.files.atomic import room_for
from clsdm.files.names import given_path
from clsdm.files.scratch import OwnFolder, remove_abandoned
from clsdm.files.strict_json import arguments_of, parse_json

__all__ = ["KINDS", "PREFIX", "PROTOCOL", "ArrayFolders", "answer", "described", "kind_of", "main", "run", "serve"]

PROTOCOL = 2
PREFIX = "clsdm-worker-"
"""How the name of a worker's folder begins."""
KEPT_ANSWERS = 2
"""One may still be read while the next is worked at."""
MAX_ID = 2**53
MAX_IDLE_S = 30 * 86_400.0

NICER, NICEST = 10, 19
BELOW_NORMAL_PRIORITY_CLASS = 0x4000
"""On Windows, from its processthreadsapi."""
_TERMINATION = ("SIGTERM", "SIGHUP", "SIGBREAK")  # the last is Windows'

Answer = dict[str, Any]
Emit = Callable[[Answer], None]
Task = Callable[..., Answer]
Watch = Callable[[Callable[[load.Figures], None]], contextlib.AbstractContextManager[object]]
"""Has the load told while a task is at work, such as ``load.told``."""


class ArrayFolders:
    """Folders for the arrays of answers, in a folder of one's own; only those of the last answers are kept."""

    def __init__(self, own: Path) -> None:
        self._own, self._count = own, 0
        self._kept: deque[Path] = deque()

    def new(self) -> Path:
        """An empty folder; that of an old answer goes."""
        while len(self._kept) >= KEPT_ANSWERS:
            shutil.rmtree(self._kept.popleft(), ignore_errors=True)
        self._count += 1
        folder = self._own / str(self._count)
        with room_for(folder, 0):
            folder.mkdir()
        self._kept.append(folder)
        return folder

    def drop(self, folder: Path) -> None:
        """Remove the folder of a request that failed."""
        self._kept.remove(folder)
        shutil.rmtree(folder, ignore_errors=True)


def serve(
    next_line: Callable[[float], bytes | None],
    emit: Emit,
    arrays: ArrayFolders,
    idle_s: float,
    tasks: Mapping[str, Task],
    watch: Watch = contextlib.nullcontext,
) -> None:
    """Answer requests until there are no more.

    Args:
        next_line: gives the next request, or None when it is over; takes the seconds to wait.
        emit: sends one answer.
        arrays: for arrays.
        idle_s: how long to wait for a request.
        tasks: what can be asked for.
        watch: has the load told; by default nobody hears of it.
    """
    while (line := next_line(idle_s)) is not None:
        if line.strip():
            answer(line, emit, arrays, tasks, watch)


def answer(
    line: bytes, emit: Emit, arrays: ArrayFolders, tasks: Mapping[str, Task], watch: Watch = contextlib.nullcontext
) -> None:
    """Answer one request, with an error whatever goes wrong: one bad request must not end the worker."""
    number, folder = None, None
    try:
        request = parse_json(line, "request")
        number = _id_of(request)
        task = _task_of(request, tasks)
        arguments = arguments_of(task, request, 2, "request")
        folder, voice = arrays.new(), Voice(number, emit)
        with watch(voice.load):
            result = task(folder, voice, **arguments)
        emit({"id": number, "result": result})
    except Exception as error:  # noqa: BLE001 - the border of the process: whatever it is, the parent must hear of it
        if folder is not None:
            arrays.drop(folder)
        emit({"id": number, "error": described(error)})


class Voice:
    """Lines of a task before its answer: called, its progress; and each of many results with :meth:`tell`."""

    def __init__(self, number: int, emit: Emit) -> None:
        self.number, self.emit = number, emit
        self._last: Answer | None = None
        self._lock = threading.Lock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        with self._lock:
            self._last = {"id": self.number, "stage": stage, "i": done, "n": total}
            self.emit(self._last)

    def load(self, figures: load.Figures) -> None:
        """The last progress once more, with the load; nothing before the first."""
        with self._lock:  # else it could be said after a newer one
            if self._last is not None:
                self.emit(self._last | {"load": figures})

    def tell(self, result: Answer) -> None:
        """One of many results, of plain JSON types."""
        self.emit({"id": self.number, "told": result})


def _id_of(request: Any) -> int:  # noqa: ANN401 - untrusted JSON
    """The id, taken out of a request."""
    if not isinstance(request, dict):
        raise InputError(f"request: expected an object, found {type(request).__name__}")
    number = request.pop("id", None)
    if type(number) is not int or not 0 <= number <= MAX_ID:
        raise InputError(f"request.id: expected a whole number from 0 to {MAX_ID}")
    return number


def _task_of(request: dict[str, Any], tasks: Mapping[str, Task]) -> Task:
    """The task, taken out of a request."""
    name = request.pop("task", None)
    if not isinstance(name, str) or name not in tasks:
        raise InputError(f"request.task: expected one of {', '.join(tasks)}, found {reprlib.repr(name)}")
    return tasks[name]


def main(arguments: Sequence[str] | None = None) -> int:
    """``clsdm serve``: work until standard input closes or nobody asks any more."""
    parser = argparse.ArgumentParser(prog="clsdm serve", description=__doc__.splitlines()[0])
    add_arguments(parser)
    try:
        return run_options(parser.parse_args(arguments))
    except InputError as error:
        print(f"clsdm: {printable(str(error))}", file=sys.stderr)  # noqa: T201 - the command line
        return 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``clsdm serve``."""
    from clsdm.app import remote, server

    parser.add_argument("--folder", help="existing folder in which a new one for arrays is made")
    parser.add_argument("--idle", type=float, default=600.0, metavar="S", help="end after S idle seconds (%(default)s)")
    server.add_arguments(parser)
    remote.add_arguments(parser)


def run_options(options: argparse.Namespace) -> int:
    """Serve as the command line asks.

    Raises:
        InputError: no existing folder, no number of seconds, or options of which one would be left out silently; or see
            ``server`` and ``remote``.
    """
    from clsdm.app import remote, server

    _refuse_idle_options(options)
    if not (math.isfinite(options.idle) and 0.0 < options.idle <= MAX_IDLE_S):
        raise InputError(f"--idle: expected more than 0 and at most {MAX_IDLE_S:,.0f} seconds, got {options.idle:g}")
    if options.listen is not None:
        return server.run_options(options)
    if options.folder is None:
        raise InputError("serve: name a folder with --folder, or with --listen where to serve other computers")
    try:
        theirs = None if options.server is None else remote.server_of(options)
    except SettingsError as error:
        print(json.dumps({"id": None, "error": described(error)}))  # noqa: T201 - for the program that started this one
        raise
    parent = given_path(options.folder, "--folder")
    if not parent.is_dir():
        raise InputError(f"--folder: {parent} is no folder; expected an existing one, in which a new one is made")
    try:
        own = OwnFolder(parent.resolve(), PREFIX)
    except OSError as error:
        raise InputError(f"--folder: {parent} cannot be written to ({error.strerror})") from error
    run(own, options.idle, None if theirs is None else remote.tasks_of(theirs))
    return 0


def _refuse_idle_options(options: argparse.Namespace) -> None:
    """Refuse an option that nothing would come of beside, or without, another."""
    listens, asks = options.listen is not None, options.server is not None
    idle = {
        "does not go with --listen": ("folder", "server", "ca_file") if listens else (),
        "goes with --listen": () if listens else ("cert", "cert_key", "model"),
        "goes with --cert": () if options.cert else ("cert_key",),
        "goes with --server": () if asks else ("ca_file",),
        "goes with --listen or --server": () if listens or asks else ("key_file", "unencrypted"),
    }
    for reason, names in idle.items():
        if given := next((name for name in names if getattr(options, name)), None):
            raise InputError(f"--{given.replace('_', '-')}: {reason}")


def run(own: OwnFolder, idle_s: float, tasks: Mapping[str, Task] | None = None) -> None:
    """Serve on this process's standard streams, and end the process.

    Args:
        own: for arrays; removed at the end.
        idle_s: end after so many seconds without a request.
        tasks: what can be asked for; ``tasks.TASKS`` if None.
    """
    voice = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what anybody prints is a log, not an answer
    sys.stdout = sys.stderr
    lock, leaving = threading.Lock(), threading.Lock()

    def leave() -> None:
        leaving.acquire()  # of two threads that see the end, the second must not end what the first still removes
        with contextlib.suppress(OSError):
            os.chdir(own.path.parent)  # Windows keeps a folder that a process stands in
        own.remove()
        os._exit(0)  # at once, even from inside a long convolution; there is nothing else to tidy up

    def emit(message: Answer) -> None:
        text = json.dumps(message, allow_nan=False).encode("ascii") + b"\n"
        try:
            with lock:
                voice.write(text)
                voice.flush()
        except OSError:  # nobody listens any more
            leave()

    def refuse(reason: str) -> None:
        emit({"id": None, "error": described(InputError(f"request: {reason}"))})

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in the terminal is the parent's to handle
        _on_termination(leave)
    _step_back()
    emit({"pid": os.getpid(), "protocol": PROTOCOL, "folder": str(own.path)})
    requests = Requests(0, leave, refuse)
    remove_abandoned(own.path.parent, PREFIX)
    watch: Watch = contextlib.nullcontext  # who does the work tells what it takes
    if tasks is None:
        from clsdm.app.tasks import TASKS  # light: each task imports what it needs

        tasks, watch = TASKS, load.told
    serve(requests.next, emit, ArrayFolders(own.path), idle_s, tasks, watch)
    leave()


def _on_termination(leave: Callable[[], None]) -> None:
    """Have ``leave`` called at once when the process is told to terminate, whatever the main thread is doing.

    Python calls a signal's handler between two of its own instructions, which a long convolution keeps from coming; the
    byte that it sends through the wake-up descriptor comes at once.
    """
    ours, woken = socket.socketpair()
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    for name in _TERMINATION:
        which = getattr(signal, name, None)
        if which is not None and signal.getsignal(which) is not signal.SIG_IGN:
            signal.signal(which, lambda *_: None)

    def wait(_kept: socket.socket = woken) -> None:
        ours.recv(1)
        leave()

    threading.Thread(target=wait, daemon=True).start()


def _step_back() -> None:
    """Run after the parent: where this process keeps every core busy, the parent's window still answers at once.

    Slicer on Linux and macOS gives its own window the lowest priority (``SetCurrentThreadPriorityToBackground``, meant for
    another thread), and a child inherits it; there only the scheduler's class for idle times is below. Under a server that
    was begun with less than the lowest, some are left, and what is idle would wait for everybody else on the computer.
    """
    if sys.platform == "win32":
        import ctypes

        kernel = ctypes.windll.kernel32
        kernel.GetCurrentProcess.restype = ctypes.c_void_p
        kernel.SetPriorityClass.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
        kernel.SetPriorityClass(kernel.GetCurrentProcess(), BELOW_NORMAL_PRIORITY_CLASS)
        return
    is_lowest = os.nice(0) >= NICEST
    os.nice(NICER)
    if is_lowest and hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


if __name__ == "__main__":
    sys.exit(main())
