"""Peak memory of a piece of work, above what was held before it.

What is freed mostly stays with the process, for the next who asks: work that gets it seems to need nothing, and what it frees
itself seems to be held. So memory is given back to the system before, and whenever something is freed meanwhile, where
that can be asked for (glibc). Work is slower for it: do not take its time as well.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

MIB = 2**20
_THRESHOLD, _SMALL, _LARGE = -3, 64 * 2**10, 32 * MIB
"""glibc's M_MMAP_THRESHOLD: larger blocks are mapped one by one, and go when they are freed. By itself it grows to the last."""
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
    libc = _glibc()
    if libc is not None:
        libc.mallopt(_THRESHOLD, _SMALL)
        libc.malloc_trim(0)
    try:
        start = _resident("VmRSS") if _reset() else None
        yield peak
    finally:
        if libc is not None:
            libc.mallopt(_THRESHOLD, _LARGE)
    highest = _resident("VmHWM") if start is not None else None
    if start is not None and highest is not None:
        peak.mib = max(0.0, highest - start)


def _glibc() -> ctypes.CDLL | None:
    """The C library, where it is one that can be told how to allocate."""
    with suppress(OSError, TypeError):  # Windows names no library
        library = ctypes.CDLL(None)
        return library if hasattr(library, "malloc_trim") else None
    return None


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
