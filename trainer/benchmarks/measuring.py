"""What every benchmark here shares: alternatives timed in turn (A B A B ...), peak memory, and what machine it was.

Load on a shared machine changes from second to second, so two figures are only comparable where they were taken side by
side: ``interleaved`` runs every alternative once per round, and ``Ratio`` compares them round by round.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clsdm_trainer.precision import has_fast_bfloat16

MIB = 2**20


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line with the options that every benchmark has."""
    options = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    options.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options.add_argument("--threads", type=int, help="threads of torch on the CPU (torch's choice if left out)")
    options.add_argument("--rounds", type=int, help="how often each alternative is measured, in turn with the others")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    options.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; figures mean nothing")
    return options


def start(arguments: argparse.Namespace) -> torch.device:
    """Set threads and choose the device as the command line says."""
    if arguments.rounds is not None and arguments.rounds < 1:
        raise SystemExit(f"--rounds: expected at least 1, got {arguments.rounds}")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    name = arguments.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise SystemExit("--device cuda: torch finds no CUDA GPU")
    return torch.device(name)


def environment(device: torch.device) -> dict[str, Any]:
    """Where a figure was taken; printed above it and saved with it."""
    cuda = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if cuda else processor_name(),
        "device_type": device.type,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "fast_bfloat16": has_fast_bfloat16(device),
        "tf32_convolutions": cuda and torch.backends.cudnn.allow_tf32,
    }


def processor_name() -> str:
    """The CPU, as its system calls it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def synchronise(device: torch.device) -> None:
    """Wait until the device has done what it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's work included."""
    synchronise(device)
    started = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - started


def interleaved(
    calls: dict[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    *,
    warm_up: bool = True,
    in_a_loop: bool = False,
) -> dict[str, list[float]]:
    """Seconds of every call in every round; each round runs all of them, in order.

    ``in_a_loop`` makes each timed call follow an untimed one of the same, so that it finds the caches as in a loop of its
    own and not as the call before it left them.
    """
    if warm_up:
        for call in calls.values():
            call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if in_a_loop:
                call()
            seconds[name].append(seconds_of(call, device))
    return seconds


@dataclass(frozen=True)
class Ratio:
    """How many times more one alternative takes than another.

    Attributes:
        name: what is compared.
        median: of the rounds' ratios.
        low: the smallest of them.
        high: the largest.
        rounds: how many.
        bar: what it should reach, or None.
        bar_is: "at least" or "at most".
        note: anything the reader must know, such as that a side is extrapolated.
    """

    name: str
    median: float
    low: float
    high: float
    rounds: int
    bar: float | None = None
    bar_is: str = "at least"
    note: str = ""

    @classmethod
    def of(
        cls,
        name: str,
        more: Sequence[float],
        less: Sequence[float],
        bar: float | None = None,
        bar_is: str = "at least",
        note: str = "",
    ) -> Ratio:
        """``more`` over ``less``, pair by pair."""
        pairs = [a / b for a, b in zip(more, less, strict=True)]
        return cls(name, statistics.median(pairs), min(pairs), max(pairs), len(pairs), bar, bar_is, note)

    def line(self) -> str:
        """For people."""
        spread = f"  ({self.low:.3g} to {self.high:.3g}, {self.rounds} pairs)" if self.rounds > 1 else "  (1 pair)"
        bar = "" if self.bar is None else f"   bar: {self.bar_is} {self.bar:g}"
        note = f"   [{self.note}]" if self.note else ""
        return f"  {self.name:<58} {self.median:8.3g} x{spread}{bar}{note}"


def peak_resident_bytes() -> int:
    """Largest memory that this process ever held in RAM.

    Not ``ru_maxrss`` on Linux: there a child starts with the peak of the process that launched it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if sys.platform == "win32":
        return _windows_peak()
    resource: Any = importlib.import_module("resource")
    peak = int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return peak if sys.platform == "darwin" else peak * 1024


def _windows_peak() -> int:
    """PeakWorkingSetSize of this process."""
    ctypes: Any = importlib.import_module("ctypes")
    names = ("page_faults", "peak", "now", "a", "b", "c", "d", "paged", "peak_paged")
    kinds = [ctypes.c_ulong, *[ctypes.c_size_t] * (len(names) - 1)]

    class Counters(ctypes.Structure):  # PROCESS_MEMORY_COUNTERS
        _fields_ = [("size", ctypes.c_ulong), *zip(names, kinds, strict=True)]  # noqa: RUF012 - ctypes' own custom

    counters = Counters()
    counters.size = ctypes.sizeof(Counters)
    process = ctypes.windll.kernel32.GetCurrentProcess
    process.restype = ctypes.c_void_p
    query = ctypes.windll.psapi.GetProcessMemoryInfo
    query.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong]
    if not query(process(), ctypes.byref(counters), counters.size):
        raise OSError("GetProcessMemoryInfo failed")
    return int(counters.peak)


def in_child(script: str, *words: str) -> dict[str, Any]:
    """Run a benchmark again in a process of its own and return the JSON object on its last line."""
    done = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{Path(script).name} {' '.join(words)}: failed\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows with the same keys as aligned text; numbers in three significant digits."""
    if not rows:
        return ""
    cells = [list(rows[0]), *[[_cell(value) for value in row.values()] for row in rows]]
    widths = [max(len(line[index]) for line in cells) for index in range(len(cells[0]))]
    return "\n".join(
        "  " + "  ".join(text.rjust(width) if index else text.ljust(width) for index, (text, width) in pairs)
        for pairs in ([*enumerate(zip(line, widths, strict=True))] for line in cells)
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return "-" if value is None else str(value)


def finish(
    name: str,
    arguments: argparse.Namespace,
    device: torch.device,
    tables: dict[str, list[dict[str, Any]]],
    ratios: list[Ratio],
    notes: Sequence[str] = (),
) -> None:
    """Print what was measured, as tables with a title each, and, where asked, write it as JSON."""
    where = environment(device)
    print(f"\n{name}: {', '.join(f'{key} {value}' for key, value in where.items())}")
    if arguments.smoke:
        print("  --smoke: tiny sizes; these figures mean nothing")
    for title, rows in tables.items():
        print(f"{title}:\n{table(rows)}")
    if ratios:
        print("ratios, median of the rounds' pairs:")
    for ratio in ratios:
        print(ratio.line())
    for note in notes:
        print(f"  {note}")
    if arguments.json:
        settings = {key: str(value) if isinstance(value, Path) else value for key, value in vars(arguments).items()}
        result = {"benchmark": name, "environment": where, "settings": settings, "tables": tables}
        result |= {"ratios": [asdict(ratio) for ratio in ratios], "notes": list(notes)}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
