"""Lines as they come in on standard input, on a thread of their own; however many and however long, in bounded memory."""

import os
import queue
import threading
from collections.abc import Callable

from clsdm.limits import REQUEST_LINE_BYTES, REQUESTS_WAITING

BLOCK_BYTES = 1 << 16


class Requests:
    """Requests of a program, one a line; its end is seen at once, whatever is being worked at.

    Args:
        descriptor: to read from.
        on_end: called, on the reading thread, when no more will come.
        on_refused: called likewise with what is wrong with a line that was not taken.

    Attributes:
        ended: set when no more will come.
    """

    def __init__(self, descriptor: int, on_end: Callable[[], None], on_refused: Callable[[str], None]) -> None:
        self.ended = threading.Event()
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self._on_end, self._on_refused = on_end, on_refused
        self._line, self._too_long = bytearray(), False
        threading.Thread(target=self._read, args=(descriptor,), daemon=True).start()

    def next(self, idle_s: float) -> bytes | None:
        """The next line; None when there will be none, or none came for ``idle_s`` seconds."""
        try:
            return self._waiting.get(timeout=idle_s)
        except queue.Empty:
            return None

    def _read(self, descriptor: int) -> None:
        while block := _read_block(descriptor):
            first, *others = block.split(b"\n")
            self._append(first)
            for part in others:
                self._end_line()
                self._append(part)
        self.ended.set()
        self._waiting.put(None)
        self._on_end()

    def _append(self, part: bytes) -> None:
        if self._too_long or len(self._line) + len(part) > REQUEST_LINE_BYTES:
            self._too_long = True
            self._line.clear()
        else:
            self._line += part

    def _end_line(self) -> None:
        if self._too_long:
            self._on_refused(f"a line of more than {REQUEST_LINE_BYTES:,} bytes; expected one request a line")
        elif self._waiting.qsize() >= REQUESTS_WAITING:
            self._on_refused(f"{REQUESTS_WAITING} requests are waiting already; expected answers to be waited for")
        else:
            self._waiting.put(bytes(self._line))
        self._line.clear()
        self._too_long = False


def _read_block(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, BLOCK_BYTES)
    except OSError:
        return b""
