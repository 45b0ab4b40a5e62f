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
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import ThreadingHTTPServer
from itertools import count
from pathlib import Path
from socketserver import TCPServer
from typing import Any

from clsdm import __version__
from clsdm.app.access import Address, listening, read_key, refuse_open, server_context
from clsdm.app.child import Child, Turns
from clsdm.app.handler import Handler, log
from clsdm.app.remote import PROTOCOL
from clsdm.app.sent import with_texts
from clsdm.app.worker import Answer
from clsdm.errors import InputError
from clsdm.failures import ReportedError
from clsdm.files.names import inside, nameless, plain_name
from clsdm.files.scratch import OwnFolder, remove_abandoned
from clsdm.files.strict_json import to_plain
from clsdm.limits import CONNECTIONS
from clsdm.model.bundle_files import bundle_path, embedded_bundles
from clsdm.model.facts import facts_of

PREFIX = "clsdm-server-"
SILENT_S, GREETING_S = 60.0, 20.0
"""Without a byte from a client; and until it has shown the key."""
TASKS = {
    "warm": ("bundle", "device"),
    "reconstruct": ("views", "options", "bundle"),
    "preview": ("view", "bundle"),
    "simulate": ("ct", "preset", "angles"),
    "compare": ("reconstruction", "truth"),
    "fixed": ("reconstruction", "views"),
}
"""The worker's tasks that a client may ask for, and what it may say."""
VOLUMES = ("ct", "reconstruction", "truth")
"""Fields that name one of the files that came with the request."""
OF_XRAYS = ("reconstruct", "preview")


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
        self._strangers: dict[int, threading.Timer] = {}
        self.worked_in = own.path / "worker"
        self.worked_in.mkdir()
        self.turns, self.child = Turns(), Child(self.worked_in, idle_s)
        self._numbers, self._free = count(1), threading.BoundedSemaphore(CONNECTIONS)
        self._known: Answer = {}
        super().__init__((address.host, address.port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - as in the standard library
        """Take a connection, in a thread of its own, if there are not too many."""
        if not self._free.acquire(blocking=False):
            return self.shutdown_request(request)
        try:
            return super().process_request(request, client_address)
        except RuntimeError:  # no thread can be started
            self._free.release()
            raise

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
        with request.dup() as line:
            end = self._strangers[threading.get_ident()] = threading.Timer(GREETING_S, _hang_up, (line,))
            end.daemon = True
            end.start()
            try:
                if self._context is None:
                    super().finish_request(request, client_address)
                else:
                    with self._context.wrap_socket(request, server_side=True) as secured:
                        super().finish_request(secured, client_address)
            finally:
                self._strangers.pop(threading.get_ident()).cancel()

    def known(self) -> None:
        """The client of this thread has shown the key: it is no longer hung up on."""
        self._strangers[threading.get_ident()].cancel()

    def server_bind(self) -> None:
        """Listen; without the standard library's question for this computer's full name, which can take half a minute."""
        TCPServer.server_bind(self)

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
        request, result = self._request(message, folder), None
        turn = self.turns.turn(lambda before: tell({"stage": "queue", "i": 0, "n": before}))
        with turn, contextlib.closing(self.child.ask(request)) as answers:
            for answer in answers:
                if answer is not None and "error" in answer:
                    raise ReportedError(answer["error"])
                if answer is not None and "result" in answer:
                    result = self._taken(answer["result"], folder)
                else:
                    tell(answer)
        if request["task"] == "hello":
            self._known, result = result or {}, None
        tell(
            {"result": self.hello() if result is None else result}
        )  # the next one's turn has begun, however slow this is

    def _taken(self, result: Answer, folder: Path) -> Answer:
        """The worker's answer, its arrays moved to the folder of the request, where they stay until they are sent."""
        own = Path(tempfile.mkdtemp(dir=folder))

        def moved(text: str) -> str:
            path = Path(text)
            is_made = text.startswith(str(self.worked_in)) and self.worked_in in path.resolve().parents
            return str(path.rename(own / path.name)) if is_made and path.is_file() else text

        return with_texts(result, moved)

    def nameless(self, text: str, folder: Path | None) -> str:
        """A message to a client, without the paths of this computer."""
        for ours in (folder, self.worked_in, self.own.path):
            text = text if ours is None else text.replace(f"{ours}{os.sep}", "")
        return nameless(text, {str(path): f"the server's model {name}" for name, path in self.models.items()})

    def hello(self) -> Answer:
        """The server: what it computes on, and its models; one that is damaged does not hide the others."""
        models = []
        for name, path in self.models.items():
            try:
                models.append(to_plain(facts_of(path)) | {"name": name})
            except InputError as error:
                log(f"the model {name} cannot be used: {error}")
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
            raise InputError(f"the server has no model {name!r:.60}; it has {', '.join(self.models)}", field="model")
        return self.models[name]


def _hang_up(line: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client did so before
        line.shutdown(socket.SHUT_RDWR)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of a server."""
    group = parser.add_argument_group("a server for other computers")
    group.add_argument("--listen", metavar="HOST:PORT", help="serve over HTTP there, port 8765 by default")
    group.add_argument("--key-file", metavar="FILE", help="file with the key; the server makes one that is not there")
    group.add_argument("--cert", metavar="FILE", help="PEM of the server's certificate: https")
    group.add_argument("--cert-key", metavar="FILE", help="PEM of its private key, where it is another file")
    group.add_argument("--unencrypted", action="store_true", help="allow http beyond this computer")
    group.add_argument(
        "--model",
        action="append",
        metavar="PATH",
        help="bundle to offer, again for others (default: the embedded ones)",
    )


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
    temporary = Path(tempfile.gettempdir()).resolve()  # the worker's answers name files so
    remove_abandoned(temporary, PREFIX)
    own = OwnFolder(temporary, PREFIX)
    try:
        front = Front(address, key, models, context, own, options.idle)
    except OSError as error:
        own.remove()
        raise InputError(f"--listen: {options.listen} cannot be listened at ({error.strerror})") from None
    where = str(replace(address, port=front.server_address[1]))
    print(json.dumps({"pid": os.getpid(), "address": where}), flush=True)  # noqa: T201 - the command line
    _end_once()
    try:
        front.serve_forever()
    finally:
        front.child.stop()
        front.server_close()
        own.remove()
    return 0


def _end_once() -> None:
    """End at the first signal to do so; a second one must not stop the cleaning up. What nohup has left out stays so."""
    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)]
    signals = [each for each in signals if signal.getsignal(each) is not signal.SIG_IGN]

    def stop(*_: object) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(0)

    for each in signals:
        signal.signal(each, stop)
