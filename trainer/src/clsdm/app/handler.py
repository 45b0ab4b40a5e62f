"""One request to a server: its key, its message, its answer, line by line, and whether anybody still waits for that."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clsdm.app.access import is_key
from clsdm.app.remote import PATH
from clsdm.app.sent import BLOCK_BYTES, message_of, read_files, read_line, with_texts
from clsdm.app.worker import Answer
from clsdm.errors import printable
from clsdm.failures import described
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


class GoneError(Exception):
    """The client went away, or takes nothing any more."""


class Handler(BaseHTTPRequestHandler):
    """One request; its answer ends with the connection."""

    server: Front  # type: ignore[assignment]
    server_version, sys_version = "clsdm", ""
    _body: _Body | None = None

    def do_POST(self) -> None:
        """Answer a message of the key's owner."""
        began, task = time.monotonic(), "?"
        length = self.headers.get("Content-Length", "")
        is_length = length.isdecimal() and len(length) < LENGTH_DIGITS
        self._body = _Body(self.rfile, int(length) if is_length else 0, began + TRANSFER_S)
        if not is_key(self.headers.get("Authorization", ""), self.server.key):
            time.sleep(WRONG_KEY_S)
            return self._refuse(401, "the key is wrong")
        self.server.waiting[self.client_address].cancel()
        if self.path != PATH or not is_length or self._body.left > SENT_BYTES:
            return self._refuse(400, f"expected a message of at most {SENT_BYTES:,} bytes to {PATH}")
        with self.server.folder() as folder:
            self._made_in = folder, self.server.worked_in
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

    def finish(self) -> None:
        """Take what a client still sends after its answer: closed on unread bytes, a connection is reset, answer and all."""
        if self._body is not None:
            with contextlib.suppress(OSError):
                self.connection.settimeout(READ_OFF_SILENT_S)
                self._body.read_off(READ_OFF_BYTES, READ_OFF_S)
        super().finish()

    def _message(self, folder: Path) -> Answer:
        message = read_line(self._body, "request")  # type: ignore[arg-type]
        read_files(message.pop("files", {}), self._body, folder, "request")  # type: ignore[arg-type]
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
            if not text.startswith(str(self.server.own.path)) or not (path := Path(text)).is_file():
                return text
            if not any(made in path.resolve().parents for made in self._made_in):  # a client's text that comes back
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
        report = described(error)
        message = report["message"]
        for ours in (folder, self.server.own.path):
            message = message.replace(f"{ours}{os.sep}", "")
        if report["details"]:
            log(report["details"])
        with contextlib.suppress(OSError):
            if not hasattr(self, "_last"):
                self._begin(400)
            self._say_error(report["kind"], message)
        return report["kind"]

    def _refuse(self, status: int, message: str) -> None:
        log(f"{self.client_address[0]}: refused, {message}")
        with contextlib.suppress(OSError):
            self._begin(status)
            self._say_error("server", message)

    def _say_error(self, kind: str, message: str) -> None:
        self._send(message_of({"error": {"kind": kind, "message": message, "details": ""}}, [])[1])

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
            raise TimeoutError("the message took too long")
        block: bytes = self._stream.read1(min(size, self.left))
        self.left -= len(block)
        return block

    def readline(self, size: int) -> bytes:
        """A line that comes however slowly: each time only what is there is taken."""
        line = bytearray()
        while self.left and len(line) < size and not line.endswith(b"\n"):
            ahead = self._stream.peek(1)[: size - len(line)]
            block = self.read(ahead.find(b"\n") + 1 or len(ahead))
            if not block:
                break
            line += block
        return bytes(line)

    def read_off(self, most: int, seconds: float) -> None:
        """Read the rest, as far as it has no more than ``most`` bytes and comes in so many seconds."""
        self._end = time.monotonic() + seconds
        while most > 0 and (block := self.read(min(most, BLOCK_BYTES))):
            most -= len(block)


def log(text: str) -> None:
    """A line for whoever runs the server; never a name or a key."""
    print(time.strftime("%Y-%m-%d %H:%M:%S"), text, file=sys.stderr, flush=True)  # noqa: T201 - the command line
