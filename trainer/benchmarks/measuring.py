"""Common to all benchmarks here: alternatives timed in turn (A B A B ...), their ratios, and what machine it was.

Load on a shared machine changes from second to second, so two figures are only comparable where they were taken side by
side: every alternative runs once per round, and ratios are taken round by round.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clsdm.memory import ask_for_large_pages
from clsdm.reconstruction import choose_device
from clsdm_trainer.run import environment

Calls = Mapping[str, Callable[[], object]]
Clock = Callable[[], float]


@dataclass
class Comparison:
    """Alternatives to measure side by side.

    Attributes:
        title: what they do.
        calls: by name.
        ratios: pairs of names, the first over the second.
        more: alternatives that follow from those, with their seconds in every round.
        facts: called afterwards, gives each alternative more columns.
        in_a_loop: each timed call follows an untimed one of the same, so that it finds the caches as in a loop of its own.
    """

    title: str
    calls: Calls
    ratios: Sequence[tuple[str, str]]
    more: Callable[[Mapping[str, list[float]]], Mapping[str, list[float]]] = field(default=lambda _: {})
    facts: Callable[[], Mapping[str, Mapping[str, object]]] = field(default=lambda: {})
    in_a_loop: bool = False


def seconds_of(call: Callable[[], object], device: torch.device, clock: Clock = time.perf_counter) -> float:
    """Time of one call, the device's work included."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    started = clock()
    call()
    wait()
    return clock() - started


def interleaved(
    calls: Calls, rounds: int, device: torch.device, clock: Clock = time.perf_counter, *, in_a_loop: bool = False
) -> dict[str, list[float]]:
    """Seconds of every call in every round, after one to warm up; each round runs all of them, in order."""
    for call in calls.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            if in_a_loop:
                call()
            seconds[name].append(seconds_of(call, device, clock))
    return seconds


def ratio(name: str, more: Sequence[float], less: Sequence[float]) -> dict[str, Any]:
    """``more`` over ``less``, pair by pair."""
    pairs = [a / b for a, b in zip(more, less, strict=True)]
    return {"name": name, "median": statistics.median(pairs), "low": min(pairs), "high": max(pairs)}


def measured(comparison: Comparison, rounds: int, device: torch.device, clock: Clock) -> dict[str, Any]:
    """Its rows and ratios."""
    seconds = interleaved(comparison.calls, rounds, device, clock, in_a_loop=comparison.in_a_loop)
    seconds |= comparison.more(seconds)
    facts = comparison.facts()
    rows = [
        {"": name, "ms": 1e3 * statistics.median(values), **facts.get(name, {})} for name, values in seconds.items()
    ]
    ratios = [ratio(f"{more} / {less}", seconds[more], seconds[less]) for more, less in comparison.ratios]
    return {"title": comparison.title, "rows": rows, "ratios": ratios}


def main(
    doc: str | None,
    comparisons: Callable[[argparse.Namespace, torch.device], Iterable[Comparison]],
    options: Mapping[str, Mapping[str, Any]],
    rounds: int,
) -> None:
    """Read the command line, measure what ``comparisons`` gives, print it and, where asked, write it as JSON.

    Args:
        doc: of the script.
        comparisons: from the arguments and the device.
        options: of this script, by name.
        rounds: where the command line names none.
    """
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--threads", type=int, help="threads of torch on the CPU (torch's choice if left out)")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each alternative is measured")
    parser.add_argument("--core-seconds", action="store_true",
                        help="of the processor for this process, all its threads: they hold on a busy machine")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result there too")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs; figures mean nothing")
    for name, settings in options.items():
        parser.add_argument(f"--{name}", **settings)
    arguments = parser.parse_args()
    ask_for_large_pages()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device, where = choose_device(arguments.device), environment()
    if arguments.smoke:
        print("--smoke: tiny sizes; these figures mean nothing")
    print(", ".join(f"{key} {value}" for key, value in where.items()))
    found = []
    rounds, clock = 1 if arguments.smoke else arguments.rounds, time.perf_counter
    if arguments.core_seconds:
        clock = time.process_time
    for comparison in comparisons(arguments, device):
        found.append(measured(comparison, rounds, device, clock))
        print(as_text(found[-1]), flush=True)
    if arguments.json:
        settings = {key: str(value) for key, value in vars(arguments).items()}
        result = {"environment": where, "device": device.type, "settings": settings, "comparisons": found}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def as_text(found: Mapping[str, Any]) -> str:
    """For people."""
    lines = [f"\n{found['title']}"]
    for row in found["rows"]:
        cells = (f"{key} {value:.4g}" if isinstance(value, float) else str(value) for key, value in row.items())
        lines.append("  " + "   ".join(cells))
    lines += [f"  {r['name']}: {r['median']:.3g} ({r['low']:.3g} to {r['high']:.3g})" for r in found["ratios"]]
    return "\n".join(lines)
