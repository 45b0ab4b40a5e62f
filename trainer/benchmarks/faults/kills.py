"""Processes that are killed at a random moment: while they train, and while they write.

    python trainer/benchmarks/faults/kills.py --training 100 --writing 100

Training: the autoencoder of the tests' small recipe, killed (SIGKILL) again and again in one folder and started again by
the same command; at the end its checkpoint must equal, to the bit, that of a run that nobody disturbed, and no step may
stand twice in the log. Writing: `clsdm reconstruct`, a bundle or a checkpoint, over what is there; afterwards all files are
of one writing, the old or the new, and what a killed process left is gone after the next one.
"""

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parents[1] / "tests"
sys.path[:0] = [str(HERE), str(TESTS)]

import torch  # noqa: E402
from forking import processes, table  # noqa: E402
from small_bundle import CENTRE_MM, small_bundle, small_phantom, small_xrays  # noqa: E402
from tiny import checkpoint, differences, tiny_store  # noqa: E402
from tiny import main as train  # noqa: E402

from clsdm.errors import InputError  # noqa: E402
from clsdm_trainer.checkpoint import load_checkpoint, load_state, save_checkpoint  # noqa: E402

COLUMNS = ("right", "other bits", "logged twice", "mixed", "unreadable", "left behind")
PROCESSES = processes(
    "small_bundle",
    "tiny",
    "clsdm.app.request",
    "clsdm.reconstruction",
    "clsdm_trainer.run",
    "clsdm_trainer.reporting",
    "lightning_fabric",
)


def started(what: Callable[..., None], *words: object) -> BaseProcess:
    """A process that does something."""
    process = PROCESSES.Process(target=alone, args=(what, *words), daemon=True)
    process.start()
    return process


def alone(what: Callable[..., None], *words: object) -> None:
    """Call a function in a process of its own: quietly, on one thread."""
    torch.set_num_threads(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    what(*words)


# Training


def training(kills: int, folder: Path, say: Callable[[str], None]) -> Counter[str]:
    """Kill so many trainings, some steps after each start; every 20 kills the run is held against an undisturbed one."""
    counts: Counter[str] = Counter()
    store = tiny_store(folder / "store")
    moment = random.Random(0)
    while (done := counts.total()) < kills:
        run = folder / f"cut{done}"
        round_of = min(20, kills - done)
        reached = 0
        for _ in range(round_of):
            reached = _killed(store.folder, run, moment, reached)
        whole = folder / f"whole{done}"
        steps = reached + 2
        for each in (run, whole):
            process = started(train, str(store.folder), str(each), "1000000", str(steps))
            process.join(900)
            if process.exitcode:
                raise RuntimeError(f"training ended with {process.exitcode}")
        counts[_compared(run, whole)] += round_of
        say(f"{counts.total()} kills while training, at step {steps}: {dict(counts)}")
    return counts


def _killed(store: Path, run: Path, moment: random.Random, reached: int) -> int:
    """Train until a new checkpoint is there and a little longer, kill, and tell the step of the last checkpoint."""
    process = started(train, str(store), str(run), "1000000")
    file = run / "autoencoder" / "checkpoint.safetensors"
    before = file.stat().st_mtime_ns if file.exists() else 0
    deadline = time.monotonic() + 300.0
    while process.is_alive() and time.monotonic() < deadline:
        if file.exists() and file.stat().st_mtime_ns != before:
            break
        time.sleep(0.002)
    time.sleep(moment.random() * 0.4)
    _kill(process)
    state = load_checkpoint(file)
    return reached if state is None else int(state["progress"]["step"])


def _kill(process: BaseProcess) -> None:
    process.kill()
    process.join(60)


def _compared(run: Path, whole: Path) -> str:
    if differences(checkpoint(run, "autoencoder"), checkpoint(whole, "autoencoder")):
        return "other bits"
    best = [load_state(each / "autoencoder" / "best.safetensors") for each in (run, whole)]
    if differences(*best):
        return "other bits"
    steps = [
        [json.loads(line)["step"] for line in (each / "autoencoder" / "log.jsonl").open()] for each in (run, whole)
    ]
    if steps[0] != steps[1]:
        return "logged twice"
    left = [each.name for each in (run / "autoencoder").rglob("*") if each.name.startswith(".clsdm-")]
    return "left behind" if left else "right"


# Writing: each of these writes files of one number; what is there must all be of one number.


def write_state(folder: Path, number: int) -> None:
    """A checkpoint."""
    save_checkpoint(
        folder / "checkpoint.safetensors",
        {"progress": {"step": number}, "weights": torch.full((500_000,), float(number))},
    )


def read_state(folder: Path) -> set[int]:
    """The number in a checkpoint."""
    state = load_checkpoint(folder / "checkpoint.safetensors")
    return set() if state is None else {state["progress"]["step"], *map(int, state["weights"][[0, -1]].tolist())}


def write_model(folder: Path, number: int) -> None:
    """A bundle."""
    from small_bundle import initial_weights

    weights = {name: torch.full_like(value, float(number)) for name, value in initial_weights().items()}
    small_bundle(folder / "bundle", weights=weights)


def read_model(folder: Path) -> set[int]:
    """The number in a bundle's weights."""
    from clsdm.model.bundle import Bundle

    if not (folder / "bundle").exists():
        return set()
    weights = Bundle.open(folder / "bundle").model().state_dict()
    return {int(value.flatten()[0]) for value in weights.values() if value.numel()}


def write_reconstruction(folder: Path, number: int) -> None:
    """Volume, coverage, spread and record."""
    from clsdm.app.cli import main

    films = next(each / "films" for each in folder.parents if (each / "films").exists())
    given = ["--frontal", films / "frontal.dcm", "--lateral", films / "lateral.dcm", "--bundle", films / "bundle"]
    more = ["--product", "ensemble", "--samples", 2, "--seed", number, "--device", "cpu", "--quiet"]
    main([str(each) for each in ("reconstruct", *given, *more, "--out", folder / "r.nii.gz")])


def read_reconstruction(folder: Path) -> set[int]:
    """The seeds of which a volume and its companions are, by their hashes under a folder that nobody disturbs."""
    import hashlib

    whole = folder.parent / "undisturbed"
    found = set()
    for name in ("r.nii.gz", "r_coverage.nii.gz", "r_spread.nii.gz", "r.json"):
        if not (folder / name).exists():
            continue
        if name == "r.json":
            found.add(json.loads((folder / name).read_text())["provenance"]["seed"])
        elif name != "r_coverage.nii.gz":  # the same for every seed
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            of = {hashlib.sha256((each / name).read_bytes()).hexdigest(): int(each.name) for each in whole.iterdir()}
            found.add(of.get(digest, -1))
    there = [
        name for name in ("r.nii.gz", "r_coverage.nii.gz", "r_spread.nii.gz", "r.json") if (folder / name).exists()
    ]
    return found if len(there) in (0, 4) else found | {-2}


WRITERS = {
    "checkpoint": (write_state, read_state),
    "bundle": (write_model, read_model),
    "reconstruction": (write_reconstruction, read_reconstruction),
}
NUMBERS = (1, 2)


def writing(kills: int, folder: Path, say: Callable[[str], None]) -> Counter[str]:
    """Kill so many processes while they write, a third of them each kind of file."""
    counts: Counter[str] = Counter()
    _films(folder / "films")
    for number in NUMBERS:
        started(write_reconstruction, folder / "undisturbed" / str(number), number).join(300)
    moment = random.Random(1)
    shares = [kills * (i + 1) // len(WRITERS) - kills * i // len(WRITERS) for i in range(len(WRITERS))]
    for kind, share in zip(WRITERS, shares, strict=True):
        for _ in range(share):
            counts[_write_and_kill(kind, folder / kind, moment)] += 1
        started(WRITERS[kind][0], folder / kind, NUMBERS[0]).join(300)
        left = [each for each in (folder / kind).rglob("*") if each.name.startswith(".clsdm-")]
        for each in left:
            inside = [path.name for path in each.rglob("*")]
            print(f"left behind: {each.name}: {inside}", file=sys.stderr)
        counts["left behind"] += len(left)
        say(f"{counts.total()} kills while writing: {dict(counts)}")
    return counts


def _films(folder: Path) -> None:
    from clsdm.simulate import write_dx

    small_bundle(folder / "bundle")
    for name, xray in zip(
        ("frontal", "lateral"), small_xrays(small_phantom(CENTRE_MM), centre_mm=CENTRE_MM), strict=True
    ):
        write_dx(xray, folder / f"{name}.dcm")


def _write_and_kill(kind: str, folder: Path, moment: random.Random) -> str:
    """One process that writes the two numbers in turn without end, killed after up to half a second of it."""
    folder.mkdir(exist_ok=True)
    begun = PROCESSES.Event()
    process = started(write_without_end, kind, folder, begun)
    begun.wait(300)  # everything is imported, and it has written once
    time.sleep(moment.random() * 0.5)
    _kill(process)
    try:
        found = WRITERS[kind][1](folder)
    except (InputError, ValueError, KeyError) as error:
        print(f"{kind}: {error}", file=sys.stderr)
        return "unreadable"
    if len(found) > 1 or found - set(NUMBERS):
        print(f"{kind}: files of {sorted(found)}", file=sys.stderr)
        return "mixed"
    return "right"


def write_without_end(kind: str, folder: Path, begun: Any) -> None:
    """The killed process."""
    write, _ = WRITERS[kind]
    while True:
        for number in NUMBERS:
            write(folder, number)
            begun.set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", type=int, default=0, metavar="KILLS")
    parser.add_argument("--writing", type=int, default=0, metavar="KILLS")
    options = parser.parse_args()
    torch.set_num_threads(1)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    rows: dict[str, Counter[str]] = {}
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    try:
        if options.training:
            rows["training"] = training(options.training, folder, say)
        if options.writing:
            rows["writing"] = writing(options.writing, folder, say)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(table(("killed while", "kills"), rows, COLUMNS), end="")
    return 0 if all(row["right"] == row.total() for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
