"""Thousands of damaged inputs, and a table of what became of them: every column but "refused" and "right" should be 0.

    python trainer/benchmarks/faults/mutated.py --count 5000 [--kinds film scan] [--workers 2] [--faults FILE]

Input number n of a kind is damaged in the same way each time; ``--only KIND:NUMBER`` judges one again, with all that was said.
"""

import argparse
import math
import random
import sys
import time
from collections import Counter
from pathlib import Path

from crew import Judgement, judged
from forking import table
from hostile_inputs import KINDS, SHARE
from judging import COLUMNS, GOOD


def plan(count: int, kinds: list[str], first: int = 0) -> list[tuple[str, int]]:
    """So many inputs, by the share of each kind, its numbers from ``first`` on."""
    whole = sum(SHARE[kind] for kind in kinds)
    return [(kind, first + n) for kind in kinds for n in range(max(1, round(count * SHARE[kind] / whole)))]


def run(
    cases: list[tuple[str, int]], workers: int, faults: list[Judgement], until: float = math.inf
) -> dict[str, Counter[str]]:
    """Judge all, or as many as time allows, and count; what is at fault is appended to ``faults``."""
    counts: dict[str, Counter[str]] = {}
    for done, each in enumerate(judged(cases, workers), 1):
        if time.monotonic() > until:
            break
        counts.setdefault(each.kind, Counter())[each.column] += 1
        if each.column not in GOOD:
            faults.append(each)
        if sys.stderr.isatty() or done % 500 == 0:
            end = "" if sys.stderr.isatty() else "\n"
            print(f"\r{done} of {len(cases)}, {len(faults)} at fault", end=end, file=sys.stderr, flush=True)
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="stop after so long; the inputs then come in mixed order")
    parser.add_argument("--faults", type=Path, help="file for what was said by those at fault")
    parser.add_argument("--only", action="append", metavar="KIND:NUMBER", help="judge this one; repeatable")
    options = parser.parse_args()
    cases = plan(options.count, options.kinds, options.first)
    if options.only:
        cases = [(kind, int(number)) for kind, _, number in (each.partition(":") for each in options.only)]
    faults: list[Judgement] = []
    if options.minutes is not None:
        random.Random(0).shuffle(cases)
    until = math.inf if options.minutes is None else time.monotonic() + 60.0 * options.minutes
    counts = run(cases, options.workers, faults, until)
    counts["all"] = sum(counts.values(), Counter())
    print(table(("input", "inputs"), counts, COLUMNS), end="")
    told = "".join(f"\n{f.kind}:{f.number} {f.column} ({f.seconds:.1f} s) {f.how}\n{f.said[-3000:]}\n" for f in faults)
    if options.faults is not None:
        options.faults.write_text(told, encoding="utf-8")
    elif options.only:
        print(told)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
