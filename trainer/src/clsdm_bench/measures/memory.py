"""Peak memory of a piece of work, above what was held before it.

On a CPU blocks are counted where they are taken and given back: by torch's profiler, and by tracemalloc for numpy and
Python. So the figure repeats to some kB, unlike the resident memory of the process, which keeps what it frees for the
next who asks. Not in it is what a library takes past torch's allocator, and what other threads take.
"""

import os
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch.autograd import DeviceType, profiler

MIB = 2**20
BLOCK = "[memory]"
"""The profiler's name for the events of an allocator."""


@dataclass
class Peak:
    """``mib`` is 0 until the work is done."""

    mib: float = 0.0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Measure the work inside: on a GPU what torch holds there, else the highest of torch and that of numpy, added."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.mib = (torch.cuda.max_memory_allocated(device) - before) / MIB
        return
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler says on stderr that it starts and stops
    with profiler.profile(profile_memory=True) as recorded, _traced():
        before = tracemalloc.get_traced_memory()[0]
        yield peak
        arrays = tracemalloc.get_traced_memory()[1] - before
    peak.mib = (_highest(recorded) + arrays) / MIB


@contextmanager
def _traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def _highest(recorded: profiler.profile) -> int:
    """Bytes that torch's allocator for the CPU held at most, above those at the start."""
    results: Any = recorded.kineto_results  # whose type names neither sizes nor times
    events = results.events()
    blocks = (event for event in events if event.name() == BLOCK and event.device_type() == DeviceType.CPU)
    changes = (block.nbytes() for block in sorted(blocks, key=lambda block: block.start_ns()))
    return max(0, *accumulate(changes, initial=0))
