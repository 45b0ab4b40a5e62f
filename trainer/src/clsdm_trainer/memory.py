"""Peak memory of a piece of work, above what was held before it.

What is freed mostly stays with the process, for the next who asks, and work that gets it seems to need nothing. So it is
given back to the system first, where that can be asked for (glibc).
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

MIB = 2**20
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """``mib`` is None until the work is done, and where the system does not tell."""

    mib: float | None = None


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the work inside: on a GPU what torch allocates there, on Linux the process's resident memory."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.mib = (torch.cuda.max_memory_allocated(device) - before) / MIB
        return
    _give_back()
    start = _resident("VmRSS") if _reset() else None
    yield peak
    highest = _resident("VmHWM") if start is not None else None
    if start is not None and highest is not None:
        peak.mib = max(0.0, highest - start)


def _give_back() -> None:
    """Return what was freed to the system."""
    with contextlib.suppress(OSError, AttributeError, TypeError):  # no C library by this name, or one without it
        ctypes.CDLL(None).malloc_trim(0)


def _reset() -> bool:
    """Let the high-water mark of resident memory start anew."""
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> float | None:
    """A field of the process's status in MiB."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 2**10  # kB
    return None
