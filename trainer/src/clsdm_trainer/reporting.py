"""Where a run's log records go besides its log file: a progress bar or now and then a line, JSON lines, and TensorBoard."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from clsdm.progress import Clock, NowAndThen, on_terminal, say

Record = dict[str, Any]
Sink = Callable[[Record], None]


@contextmanager
def training_report(
    folder: Path, *, as_json: bool, first: bool = True, clock: Clock = time.monotonic
) -> Iterator[Sink]:
    """A sink for the records of ``loop.Runner``; scalars and pictures go to TensorBoard under ``folder``.

    Args:
        folder: of the stage.
        as_json: the records as JSON lines on standard output, instead of words.
        first: whether this is the first of all processes, the one that says how far they are.
        clock: seconds.

    Yields:
        The sink.
    """
    writers: list[SummaryWriter] = []  # made by the first record, so that a run that does not begin leaves nothing
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bars = Progress(*columns, console=Console(stderr=True), disable=as_json or not on_terminal())
    tasks: dict[str, Any] = {}
    pace = NowAndThen(clock)
    said = say if bars.disable else bars.console.print

    def sink(record: Record) -> None:
        stage, step = record["stage"], record["step"]
        if not writers:  # a run that goes on writes over what was reported after its checkpoint
            writers.append(SummaryWriter(str(folder / "tensorboard"), purge_step=step))
        writer = writers[0]
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=record["steps"])
        bars.update(tasks[stage], completed=step)
        for name, value in record.items():
            if isinstance(value, float):
                writer.add_scalar(f"{stage}/{name}", value, step)
        picture = record.get("picture")
        if isinstance(picture, np.ndarray):
            writer.add_image(f"{stage}/validation", picture, step, dataformats="HWC")
        if as_json:
            sys.stdout.write(json.dumps({k: v for k, v in record.items() if k != "picture"}) + "\n")
            sys.stdout.flush()
        elif any(name.startswith("psnr_") for name in record):
            scores = ", ".join(f"{k} {v:.2f}" for k, v in record.items() if k.startswith("psnr_"))
            said(f"{stage} step {step}: {scores}")
        elif first and bars.disable and pace.due():
            said(f"{stage} step {step} of {record['steps']}")

    with bars:
        try:
            yield sink
        finally:
            for writer in writers:
                writer.close()
