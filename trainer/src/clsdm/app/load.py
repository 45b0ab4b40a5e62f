"""What a process takes of the computer while it works: its share of the processors, and the memory of the GPU it uses."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Figures = dict[str, float]
"""See :meth:`Load.__call__`."""
MOST = {"processors": 1.0, "free_bytes": 2.0**60, "total_bytes": 2.0**60}
"""Of each figure."""
EVERY_S = 0.5


class Load:
    """The load of this process, from one call to the next, or from when this was made to the first."""

    def __init__(self) -> None:
        self._wall, self._used = time.monotonic(), time.process_time()

    def __call__(self) -> Figures:
        """The figures now.

        Returns:
            "processors", 0 to 1 of all that the computer has; and where this process uses a GPU, "free_bytes" and
            "total_bytes" of its memory, whoever takes the rest.
        """
        wall, used = time.monotonic(), time.process_time()
        share = (used - self._used) / max(wall - self._wall, 1e-3) / (os.cpu_count() or 1)
        self._wall, self._used = wall, used
        return {"processors": round(min(1.0, share), 3)} | _of_gpu()


def _of_gpu() -> Figures:
    """Nothing where torch, which may be being imported right now, has not begun to use a GPU."""
    is_used = getattr(sys.modules.get("torch.cuda"), "is_initialized", None)
    if is_used is None or not is_used():
        return {}
    try:
        free, total = sys.modules["torch.cuda"].mem_get_info()
    except RuntimeError:  # the GPU has just failed, which the work itself will tell
        return {}
    return {"free_bytes": float(free), "total_bytes": float(total)}


@contextmanager
def told(tell: Callable[[Figures], None], every_s: float = EVERY_S) -> Iterator[None]:
    """Have the load told again and again, on a thread of its own; not once more when this has ended."""
    load, ended = Load(), threading.Event()

    def watch() -> None:
        while not ended.wait(every_s):
            tell(load())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def figures_in(plain: Any) -> Figures | None:  # noqa: ANN401 - untrusted JSON
    """The figures that a server tells; None where it tells none."""
    if not isinstance(plain, dict):
        return None
    numbers: dict[str, Any] = {name: plain[name] for name in MOST if type(plain.get(name)) in (int, float)}
    return {name: float(number) for name, number in numbers.items() if 0 <= number <= MOST[name]} or None
