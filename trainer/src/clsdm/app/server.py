"""``clsdm serve --listen``: a worker for other computers, over HTTP, with a key, and encrypted.

One address takes a message (``sent``) and answers as the worker does: lines of progress, then the result with its arrays.
The work is done by a worker of this computer (``clsdm serve``) in a process of its own, one request after the other in the
order in which they came: what kills it, or a client that goes away, ends one request and nothing else. Whatever a client
sends is checked by size before it is taken, lies in a folder of its own, and is gone when its request is answered. No
client can name a file of this computer.
"""

import argparse
import contextlib
import json
import os
import select
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

from clsdm import __version__
from clsdm.app.access import Address, is_key, listening, read_key, refuse_open, server_context
from clsdm.app.child import TICK_S, Child
from clsdm.app.remote import PATH, PROTOCOL
from clsdm.app.sent import message_of, read_files, read_line, with_texts
from clsdm.app.worker import Answer
from clsdm.errors import InputError, printable
from clsdm.failures import ReportedError, ServerError, described
from clsdm.files.names import inside, plain_name
from clsdm.files.scratch import OwnFolder, remove_abandoned
from clsdm.files.strict_json import to_plain
from clsdm.limits import CLIENTS_WAITING, CONNECTIONS, SENT_BYTES, TRANSFER_S
from clsdm.model.bundle_files import bundle_path, embedded_bundles
from clsdm.model.facts import facts_of

PREFIX = "clsdm-server-"
SILENT_S, ALIVE_S = 60.0, 5.0
"""Without a byte from a client; and after which a client is told that its work goes on."""
WRONG_KEY_S = 1.0
"""Before a wrong key is refused."""
TASKS = {
    "warm": ("bundle", "device"),
    "reconstruct": ("views", "options", "bundle", "preset"),
    "preview": ("view", "bundle", "preset"),
    "simulate": ("ct", "preset", "angles"),
    "compare": ("reconstruction", "truth"),
    "fixed": ("reconstruction", "views"),
}
"""The worker's tasks that a client may ask for, and what it may say."""
VOLUMES = ("ct", "reconstruction", "truth")
"""Fields that name one of the files that came with the request."""
OF_XRAYS = ("reconstruct", "preview")


class GoneError(Exception):
    """The client went away, or takes nothing any more."""


class Turns:
    """One request after the other, in the order in which they came."""

    def __init__(self) -> None:
        self._line: list[object] = []
        self._moved = threading.Condition()

    @contextlib.contextmanager
    def turn(self, on_wait: Callable[[int], None]) -> Iterator[None]:
        """Wait for one's turn; ``on_wait`` is told how many are before, again and again.

        Raises:
            ServerError: too many wait already.
        """
        mine = object()
        with self._moved:
            if len(self._line) >= CLIENTS_WAITING:
                raise ServerError(
                    f"the server is busy: {CLIENTS_WAITING} requests are waiting already; try again later"
                )
            self._line.append(mine)
        try:
            while (before := self._before(mine)) > 0:
                on_wait(before)
            yield
        finally:
            with self._moved:
                self._line.remove(mine)
                self._moved.notify_all()

    def _before(self, mine: object) -> int:
        with self._moved:
            self._moved.wait_for(lambda: self._line[0] is mine, TICK_S)
            return self._line.index(mine)


class Front(ThreadingHTTPServer):
    """Listens, and hands requests to the worker.

    Args:
        address: to listen at.
        key: that clients have to know.
        models: bundles by name; the first is taken where a client names none.
        context: TLS, or None.
        own: folder for what clients send and get.
        idle_s: after which the worker ends and frees the GPU.
    """

    daemon_threads = True

    def __init__(
        self, address: Address, key: str, models: dict[str, Path], context: ssl.SSLContext | None, own: OwnFolder,
        idle_s: float,
    ) -> None:  # fmt: skip
        self.address_family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        self.key, self.models, self._context, self.own = key, models, context, own
        self.turns, self.child = Turns(), Child(own.path, idle_s)
        self._numbers, self._free = count(1), threading.BoundedSemaphore(CONNECTIONS)
        self._known: Answer = {}
        super().__init__((address.host, address.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the standard library
        """Take a connection, in a thread of its own, if there are not too many."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """In that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer; encrypted connections begin here, so that who does not begin one keeps nobody waiting."""
        request.settimeout(SILENT_S)
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._context is None:
            super().finish_request(request, client_address)
            return
        with self._context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """A client that spoke no TLS, or went; what is a defect is answered before."""
        log(f"{client_address[0]}: connection lost ({type(sys.exc_info()[1]).__name__})")

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """For one request."""
        folder = self.own.path / f"request{next(self._numbers)}"
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def work(self, message: Answer, folder: Path, tell: Callable[[Answer | None], None]) -> None:
        """Have the worker answer a request.

        Args:
            message: what the client asked.
            folder: with the files that came with it.
            tell: sends an answer, or with None finds out whether anybody still waits.

        Raises:
            InputError: it cannot be asked for.
            ReportedError: the worker failed.
        """
        request = self._request(message, folder)
        turn = self.turns.turn(lambda before: tell({"stage": "queue", "i": 0, "n": before}))
        with turn, contextlib.closing(self.child.ask(request)) as answers:
            for answer in answers:
                if answer is not None and "error" in answer:
                    raise ReportedError(answer["error"])
                if answer is not None and "result" in answer and request["task"] == "hello":
                    self._known = answer["result"]
                    answer = {"result": self.hello()}
                tell(answer)

    def hello(self) -> Answer:
        """The server: what it computes on, and its models."""
        models = [to_plain(facts_of(path)) | {"name": name} for name, path in self.models.items()]
        return self._known | {"clsdm": __version__, "protocol": PROTOCOL, "models": models}

    def _request(self, message: Answer, folder: Path) -> Answer:
        """The worker's request: what a client may say, and files of its own.

        Raises:
            InputError: it may not say that.
        """
        task = message.pop("task", None)
        if task == "hello":
            return {"task": task}
        fields = TASKS.get(task) if isinstance(task, str) else None
        if fields is None:
            raise InputError(f"request.task: expected one of hello, {', '.join(TASKS)}")
        for name in message:
            if name not in fields:
                raise InputError(f"request.{name!s:.40}: unknown field; expected one of {', '.join(fields)}")
        for name in VOLUMES:
            if name in message:
                message[name] = str(
                    inside(folder, plain_name(str(message[name]), f"request.{name}"), f"request.{name}")
                )
        if "bundle" in fields:
            message["bundle"] = str(self._model(message.get("bundle")))
        if task in OF_XRAYS:
            message["sent"] = str(folder)
        if task == "simulate":
            message["out"] = str(folder / "made")
        return {"task": task, **message}

    def _model(self, name: Any) -> Path:  # noqa: ANN401 - untrusted JSON
        if name is None:
            return next(iter(self.models.values()))
        if not isinstance(name, str) or name not in self.models:
            raise InputError(f"the server has no model {name!r:.60}; it has {', '.join(self.models)}")
        return self.models[name]


class Handler(BaseHTTPRequestHandler):
    """One request; its answer ends with the connection."""

    server: Front  # type: ignore[assignment]
    server_version, sys_version = "clsdm", ""

    def do_POST(self) -> None:
        """Answer a message of the key's owner."""
        began, task = time.monotonic(), "?"
        if not is_key(self.headers.get("Authorization", ""), self.server.key):
            time.sleep(WRONG_KEY_S)
            return self._refuse(401, "the key is wrong")
        length = self.headers.get("Content-Length", "")
        if self.path != PATH or not length.isdecimal() or int(length) > SENT_BYTES:
            return self._refuse(400, f"expected a message of at most {SENT_BYTES:,} bytes to {PATH}")
        with self.server.folder() as folder:
            try:
                message = self._message(folder)
                task = printable(str(message.get("task")))[:20]
                self._begin(200)
                self.server.work(message, folder, self._tell)
                ended = "done"
            except (GoneError, OSError) as error:
                ended = f"the client went away ({type(error).__name__})"
            except Exception as error:  # noqa: BLE001 - the border of the process: whatever it is, the client must hear of it
                ended = self._failed(error, folder)
        return log(f"{self.client_address[0]}: {task}: {ended}, {time.monotonic() - began:.1f} s")

    def do_GET(self) -> None:
        """There is nothing to look at."""
        self._refuse(404, "this is a server of clsdm; ask it with 3D Slicer")

    def _message(self, folder: Path) -> Answer:
        stream = _Until(self.rfile, time.monotonic() + TRANSFER_S)
        message = read_line(stream, "request")  # type: ignore[arg-type]
        read_files(message.pop("files", {}), stream, folder, "request")  # type: ignore[arg-type]
        return message

    def _begin(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        self._last = time.monotonic()

    def _tell(self, answer: Answer | None) -> None:
        """Send an answer, and its arrays, which are gone then; with None a sign of life, where it is time for one.

        Raises:
            GoneError: nobody is there.
        """
        if select.select([self.connection], [], [], 0)[0]:  # a client says nothing more, so this is its end
            raise GoneError
        if answer is None:
            if time.monotonic() - self._last > ALIVE_S:
                self._send([b"\n"])
            return
        files: list[Path] = []

        def named(text: str) -> str:
            path = Path(text) if text.startswith(str(self.server.own.path)) else None
            if path is None or not path.is_file():
                return text
            files.append(path)
            return path.name

        self._send(message_of(with_texts(answer, named), files)[1])
        for file in files:
            file.unlink(missing_ok=True)

    def _send(self, blocks: Any) -> None:  # noqa: ANN401
        for block in blocks:
            self.wfile.write(block)
        self._last = time.monotonic()

    def _failed(self, error: Exception, folder: Path) -> str:
        """Tell of a failure: without this computer's paths, and without what only its own log should hold."""
        told = described(error)
        message = told["message"].replace(f"{folder}{os.sep}", "")
        if told["details"]:
            log(told["details"])
        with contextlib.suppress(OSError, GoneError):
            if not hasattr(self, "_last"):
                self._begin(400)
            self._tell({"error": {"kind": told["kind"], "message": message, "details": ""}})
        return told["kind"]

    def _refuse(self, status: int, message: str) -> None:
        log(f"{self.client_address[0]}: refused, {message}")
        with contextlib.suppress(OSError):
            self._begin(status)
            self._send(message_of({"error": {"kind": "server", "message": message, "details": ""}}, [])[1])

    def log_message(self, *words: object) -> None:
        """The request's line is written when it has ended."""


class _Until:
    """A stream that ends when its time is over."""

    def __init__(self, stream: Any, end: float) -> None:  # noqa: ANN401
        self._stream, self._end = stream, end

    def read(self, size: int) -> bytes:
        self._check()
        return self._stream.read1(size)

    def readline(self, size: int) -> bytes:
        self._check()
        return self._stream.readline(size)

    def _check(self) -> None:
        if time.monotonic() > self._end:
            raise TimeoutError("the message took too long")


def log(text: str) -> None:
    """A line for whoever runs the server; never a name or a key."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)  # noqa: T201 - the command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a server."""
    group = parser.add_argument_group("a server for other computers")
    group.add_argument("--listen", metavar="HOST:PORT", help="serve over HTTP there, port 8765 by default")
    group.add_argument("--key-file", metavar="FILE", help="file with the key; the server makes one that is not there")
    group.add_argument("--cert", metavar="FILE", help="PEM of the server's certificate: https")
    group.add_argument("--cert-key", metavar="FILE", help="PEM of its private key, where it is another file")
    group.add_argument("--unencrypted", action="store_true", help="allow http beyond this computer")
    group.add_argument("--model", action="append", metavar="PATH", help="bundle to offer, again for others (default: the embedded ones)")


def run_options(options: argparse.Namespace) -> int:
    """Serve as the command line asks, until told to stop.

    Raises:
        InputError: what it asks is not possible.
    """
    address = listening(options.listen, encrypted=options.cert is not None)
    refuse_open(address, options.unencrypted, "name a certificate with --cert, or allow it with --unencrypted")
    key = read_key(options.key_file, make=True)
    context = None if options.cert is None else server_context(options.cert, options.cert_key)
    paths = [bundle_path(wanted) for wanted in options.model or embedded_bundles() or [None]]
    models = {facts_of(path).id: path.resolve() for path in paths}
    if len(models) < len(paths):
        raise InputError("--model: two bundles have the same name")
    os.environ.pop("CLSDM_KEY", None)  # not for its children
    temporary = Path(tempfile.gettempdir())
    remove_abandoned(temporary, PREFIX)
    own = OwnFolder(temporary, PREFIX)
    try:
        front = Front(address, key, models, context, own, options.idle)
    except OSError as error:
        own.remove()
        raise InputError(f"--listen: {options.listen} cannot be listened at ({error.strerror})") from None
    where = str(replace(address, port=front.server_address[1]))
    print(json.dumps({"pid": os.getpid(), "address": where}), flush=True)  # noqa: T201 - the command line
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: sys.exit(0))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            front.serve_forever()
    finally:
        front.child.end()
        front.server_close()
        own.remove()
    return 0
