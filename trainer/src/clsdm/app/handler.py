"""One request to a server: its key, its message, its answer, line by line, and whether anybody still waits for that."""

from __future__ import annotations

import contextlib
import select
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsdm.app.access import is_key
from clsdm.app.remote import PATH
from clsdm.app.sent import BLOCK_BYTES, message_of, read_files, read_line, with_texts
from clsdm.app.worker import Answer
from clsdm.errors import InputError, printable
from clsdm.failures import ServerError, described
from clsdm.limits import READ_OFF_BYTES, READ_OFF_S, SENT_BYTES, TRANSFER_S

if TYPE_CHECKING:
    from clsdm.app.server import Front

LENGTH_DIGITS = 19
ALIVE_S = 5.0
"""After which a client is told that its work goes on."""
WRONG_KEY_S = 1.0
"""Before a wrong key is refused."""
READ_OFF_SILENT_S = 2.0
"""Without a byte of what nobody wants."""
OF_THE_SERVER = ("memory", "device", "disk", "missing", "defect")
"""Kinds of failures that a client would else look for on its own computer."""


class GoneError(Exception):
    """The client went away, or takes nothing any more."""


class Handler(BaseHTTPRequestHandler):
    """One request; its answer ends with the connection."""

    server: Front  # type: ignore[assignment]
    server_version, sys_version = "clsdm", ""
    _body: _Body | None = None
    _folder: Path | None = None
    _is_whole = True

    def do_POST(self) -> None:
        """Answer a message of the key's owner."""
        began, self._task, ended = time.monotonic(), "?", "done"
        length = self._length()
        self._body = _Body(self.rfile, length, began + TRANSFER_S)
        if not is_key(self.headers.get("Authorization", ""), self.server.key):
            time.sleep(WRONG_KEY_S)
            return self._refuse(401, "the key is wrong")
        self.server.known()
        if wrong := self._wrong(length):
            return self._refuse(400, wrong)
        try:
            with self.server.folder() as self._folder:
                self._answer(self._folder)
        except GoneError as error:
            ended = f"the client went away ({error})"
        except Exception as error:  # noqa: BLE001 - the border of the process: whatever it is, the client must hear of it
            ended = self._failed(error)
        return log(f"{self.client_address[0]}: {self._task}: {ended}, {time.monotonic() - began:.1f} s")

    def _answer(self, folder: Path) -> None:
        message = self._message(folder)
        self._task = " ".join(printable(str(message.get("task")))[:20].split())
        self._begin(200)
        self.server.work(message, folder, self._tell)

    def _length(self) -> int:
        """The bytes of the message; 0 where nobody, or more than one, says so."""
        (text, *more) = self.headers.get_all("Content-Length", [""])
        return int(text) if text.isdecimal() and len(text) < LENGTH_DIGITS and not more else 0

    def _wrong(self, length: int) -> str:
        """What is wrong with a request before its message; "" where nothing is."""
        if self.path != PATH:
            return f"nothing is at {printable(self.path)!r:.60}; expected a message to {PATH}"
        if "Transfer-Encoding" in self.headers:
            return "a message with a Transfer-Encoding, as a proxy may have made it; expected one with a Content-Length"
        if not 0 < length <= SENT_BYTES:
            said = ", ".join(printable(each)[:40] for each in self.headers.get_all("Content-Length", ["none"])[:3])
            return (
                f"Content-Length is {said}; expected a message of at most {SENT_BYTES:,} bytes, and one number above 0"
            )
        return ""

    def do_GET(self) -> None:
        """There is nothing to look at, which a browser shows only as text."""
        self._refuse(404, "this is a server of clsdm; ask it with 3D Slicer", "text/plain; charset=utf-8")

    def finish(self) -> None:
        """Take what a client still sends after its answer: closed on unread bytes, a connection is reset, answer and all."""
        if self._body is not None:
            with contextlib.suppress(OSError, GoneError):
                self.connection.settimeout(READ_OFF_SILENT_S)
                self._body.read_off(READ_OFF_BYTES, READ_OFF_S)
        super().finish()

    def _message(self, folder: Path) -> Answer:
        try:
            message = read_line(self._body, "request")  # type: ignore[arg-type]
        except ServerError:  # its time is over
            raise
        except ConnectionError:  # it ended, and nobody went away
            raise InputError("request: an empty message; expected a line of JSON") from None
        read_files(message.pop("files", {}), self._body, folder, "request")  # type: ignore[arg-type]
        return message

    def _begin(self, status: int, kind: str = "application/octet-stream") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        with _listening():
            self.end_headers()
        self._last = time.monotonic()

    def _tell(self, answer: Answer | None) -> None:
        """Send an answer, and its arrays, which are gone then; with None a sign of life, where it is time for one.

        Raises:
            GoneError: nobody is there.
        """
        if select.select([self.connection], [], [], 0)[0]:  # a client says nothing more, so this is its end
            raise GoneError("while it was worked for")
        if answer is None:
            if time.monotonic() - self._last > ALIVE_S:
                self._send([b"\n"])
            return
        files: list[Path] = []

        def named(text: str) -> str:
            if not text.startswith(str(self.server.own.path)) or not (path := Path(text)).is_file():
                return text
            if self._folder not in path.resolve().parents:  # a client's text that comes back
                return text
            files.append(path)
            return path.name

        self._send(message_of(with_texts(answer, named), files)[1])
        for file in files:
            file.unlink(missing_ok=True)

    def _send(self, blocks: Any) -> None:  # noqa: ANN401
        end, self._is_whole = time.monotonic() + TRANSFER_S, False
        with _listening():
            for block in blocks:
                self.wfile.write(block)
                if time.monotonic() > end:
                    raise GoneError("it takes the answer too slowly")
        self._last, self._is_whole = time.monotonic(), True

    def _failed(self, error: Exception) -> str:
        """Tell of a failure: without this computer's paths, and without what only its own log should hold."""
        report = described(error)
        message = self.server.nameless(report["message"], self._folder)
        if report["kind"] in OF_THE_SERVER:
            message = f"on the server: {message}"
        if report["details"]:
            log(report["details"])
        with contextlib.suppress(GoneError):
            if not hasattr(self, "_last"):
                self._begin(400)
            if self._is_whole:  # words in the middle of an array would be taken for its values
                self._say_error(report["kind"], message, report.get("field", ""))
        return report["kind"]

    def _refuse(self, status: int, message: str, *kind: str) -> None:
        log(f"{self.client_address[0]}: refused, {message}")
        with contextlib.suppress(GoneError):
            self._begin(status, *kind)
            self._say_error("server", message)

    def _say_error(self, kind: str, message: str, field: str = "") -> None:
        error = {"kind": kind, "message": message, "details": "", **({"field": field} if field else {})}
        self._send(message_of({"error": error}, [])[1])

    def log_message(self, *words: object) -> None:
        """The request's line is written when it has ended."""


class _Body:
    """The body of a request, as a stream that ends with it, or when its time is over.

    Attributes:
        left: bytes that were not read yet.
    """

    def __init__(self, stream: Any, length: int, end: float) -> None:  # noqa: ANN401
        self._stream, self.left, self._end = stream, length, end

    def read(self, size: int) -> bytes:
        if time.monotonic() > self._end:
            raise ServerError(f"the message took longer than {TRANSFER_S:g} s; expected a faster connection")
        with _listening():
            block: bytes = self._stream.read1(min(size, self.left))
        if self.left and not block:
            raise GoneError("in the middle of its message")
        self.left -= len(block)
        return block

    def readline(self, size: int) -> bytes:
        """A line that comes however slowly: each time only what is there is taken."""
        line = bytearray()
        while self.left and len(line) < size and not line.endswith(b"\n"):
            with _listening():
                ahead = self._stream.peek(1)[: size - len(line)]
            line += self.read(ahead.find(b"\n") + 1 or max(1, len(ahead)))
        return bytes(line)

    def read_off(self, most: int, seconds: float) -> None:
        """Read the rest, as far as it has no more than ``most`` bytes and comes in so many seconds."""
        self._end = time.monotonic() + seconds
        while most > 0 and (block := self.read(min(most, BLOCK_BYTES))):
            most -= len(block)


@contextlib.contextmanager
def _listening() -> Iterator[None]:
    """Speak with the client: what fails there is told from what fails on this computer, which the client has to hear.

    Raises:
        GoneError: in place of the system's errors.
    """
    try:
        yield
    except OSError as error:
        raise GoneError(type(error).__name__) from error


def log(text: str) -> None:
    """A line for whoever runs the server; never a name or a key. Where it cannot be written the work goes on."""
    with contextlib.suppress(OSError, ValueError):
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)  # noqa: T201 - the command line
