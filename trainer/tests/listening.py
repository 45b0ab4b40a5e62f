"""A server in this process, without a model and with a worker that a test may make up; and raw connections to it."""

import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worker_process import LIMIT_S

from clsdm.app import access, remote
from clsdm.app import server as front
from clsdm.files.scratch import OwnFolder

KEY = "a-key-of-the-tests-0123"


@contextmanager
def serving(folder: Path, context: ssl.SSLContext | None = None) -> Iterator[front.Front]:
    """A server that listens on a free port."""
    own = OwnFolder(folder, front.PREFIX)
    address = access.listening("localhost:0", encrypted=context is not None)
    server = front.Front(address, KEY, {}, context, own, 1.0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        own.remove()


@contextmanager
def listening(folder: Path, context: ssl.SSLContext | None) -> Iterator[int]:
    """The port of such a server."""
    with serving(folder, context) as server:
        yield server.server_address[1]


def head(length: int | str, more: str = "", path: str = remote.PATH, key: str = KEY) -> bytes:
    """The head of a request; ``more`` are further lines of it."""
    lines = f"Authorization: Bearer {key}\r\nContent-Length: {length}\r\n{more}"
    return f"POST {path} HTTP/1.0\r\n{lines}\r\n".encode()


@contextmanager
def connected(port: int, context: ssl.SSLContext | None = None) -> Iterator[socket.socket]:
    """A connection on which nothing was said yet."""
    with socket.create_connection(("localhost", port), LIMIT_S) as raw:
        if context is None:
            yield raw
        else:
            with context.wrap_socket(raw, server_hostname="localhost") as secured:
                yield secured


def reset_at_its_end(raw: socket.socket) -> None:
    """Have a connection end with a reset, as when its program dies."""
    kind = "hh" if sys.platform == "win32" else "ii"
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack(kind, 1, 0))


def all_of(raw: socket.socket) -> bytes:
    """Everything that is said until the connection ends."""
    return b"".join(iter(lambda: raw.recv(1 << 16), b""))
