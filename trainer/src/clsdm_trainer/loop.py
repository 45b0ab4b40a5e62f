"""The one training loop, on Lightning Fabric; the three stages are its step functions.

Cut it anywhere: every random number is a function of the sample's number, and the checkpoint holds the rest, so a
continued run reaches the same bits as an uncut one. Micro-batches are numbered through all devices: N processes do what
one process does with N times the accumulation.
"""

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.files.png import write_png
from clsdm_trainer.batches import Batch, TrainingData
from clsdm_trainer.checkpoint import load_checkpoint, save_checkpoint, save_state
from clsdm_trainer.ema import Ema
from clsdm_trainer.optim import learning_rate, make_optimiser
from clsdm_trainer.stages import Stage

CHECKPOINT, BEST, LOG, PICTURE = "checkpoint.safetensors", "best.safetensors", "log.jsonl", "validation.png"
MODULES = "players"
"""Key of the modules' weights in a checkpoint."""
FORMER_NAMES = {"discriminator": "judge"}
"""Of modules, in checkpoints of earlier versions."""


class NonFiniteLossError(RuntimeError):
    """The loss or its gradient is NaN or infinite; the batch that did it is saved beside the checkpoint."""


@dataclass
class Progress:
    """Where a run stands; saved with it."""

    step: int = 0
    best: float = -math.inf
    seconds: float = 0.0


@dataclass
class Runner:
    """A stage with its optimisers, average and folder, ready to run.

    Attributes:
        fabric: the engine.
        stage: what to train.
        data: training samples by number.
        validation: fixed batches of the validation patients.
        folder: of this stage; holds checkpoint, best weights and log.
        report: called with each log record, for progress bars and TensorBoard.
    """

    fabric: Fabric
    stage: Stage[Any]
    data: TrainingData
    validation: list[Batch]
    folder: Path
    report: Callable[[dict[str, Any]], None] = lambda record: None
    progress: Progress = field(default_factory=Progress)

    def __post_init__(self) -> None:
        self.config = self.stage.config
        if self.config.accumulate % self.fabric.world_size:
            raise InputError(
                f"{self.stage.name}.accumulate is {self.config.accumulate}: must be a multiple of the "
                f"{self.fabric.world_size} processes"
            )
        self.modules, self.optimisers = {}, {}
        for name, module in self.stage.modules.items():
            optimiser = make_optimiser(module, self.config.optimiser)
            self.modules[name], self.optimisers[name] = self.fabric.setup(module, optimiser)
        self.kept = next(iter(self.stage.modules.values()))
        self.ema = Ema(self.kept, self.config.ema)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._load()

    def run(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Train until all steps are done, or until ``until()`` or a signal asks to stop.

        Returns:
            Whether all steps are done.

        Raises:
            NonFiniteLossError: the loss blew up.
        """
        with stop_on_signal() as stopped:
            while self.progress.step < self.config.steps and not self._any_asks(stopped.is_set() or until()):
                started = time.perf_counter()
                terms = self.step(self.progress.step)
                self.progress.step += 1
                self.progress.seconds += time.perf_counter() - started
                self._after_step(terms, time.perf_counter() - started)
        self._save()
        return self.progress.step >= self.config.steps

    def _any_asks(self, stop: bool) -> bool:
        """Whether one of the processes was asked to stop: all must stop after one step, or the rest would wait."""
        flag = torch.tensor(float(stop), device=self.fabric.device)
        return bool(self.fabric.all_reduce(flag, reduce_op="max"))

    def step(self, step: int) -> dict[str, Tensor]:
        """One optimiser step of every module that moves at this step."""
        local = self.config.accumulate // self.fabric.world_size
        terms: dict[str, Tensor] = {}
        rate = learning_rate(self.config.optimiser, step, self.config.steps)
        moving, coarser = self.stage.moving(step), self.stage.coarser(step)
        for index in range(local):
            micro = step * self.config.accumulate + index * self.fabric.world_size + self.fabric.global_rank
            batch = self.data.batch(micro, self.config.batch, xrays=self.stage.uses_xrays, coarser=coarser)
            for name in moving:
                unsynced = self.fabric.no_backward_sync(self.modules[name], enabled=index + 1 < local)
                with unsynced, self._alone(name):
                    losses = self.modules[name](batch, step)
                    self._check("loss", losses["loss"], batch, name)
                    self.fabric.backward(losses["loss"] / local)
                for key, value in losses.items():
                    terms[f"{name}/{key}"] = terms.get(f"{name}/{key}", 0.0) + value.detach() / local
        for name in moving:
            self._move(name, rate, batch)
        self.ema.update(step)
        return terms

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Only this module's parameters take gradients: those of others in its loss (the discriminator) stay out."""
        others = [p for other, module in self.stage.modules.items() if other != name for p in module.parameters()]
        trained = [parameter for parameter in others if parameter.requires_grad]
        for parameter in trained:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in trained:
                parameter.requires_grad_(True)

    def _move(self, name: str, rate: float, batch: Batch) -> None:
        module, optimiser = self.modules[name], self.optimisers[name]
        for group in optimiser.param_groups:
            group["lr"] = rate
        norm = self.fabric.clip_gradients(module, optimiser, max_norm=self.config.clip, error_if_nonfinite=False)
        if norm is not None:
            self._check("norm of the gradients", norm, batch, name)
        optimiser.step()
        optimiser.zero_grad()

    def _check(self, what: str, value: Tensor, batch: Batch, name: str) -> None:
        """Stop on NaN and infinity, with the batch (of a gradient: the last micro-batch on this device) in a file."""
        if bool(torch.isfinite(value)):
            return
        step = self.progress.step
        culprit = self.folder / f"non_finite_step{step}_rank{self.fabric.global_rank}.safetensors"
        images = {} if batch.images is None else {"images": batch.images}
        save_state(culprit, {"step": step, "module": name, "unit": batch.unit, **images})
        raise NonFiniteLossError(
            f"{self.stage.name}: the {what} of {name} is {float(value.detach())} at step {step}; "
            f"the batch is in {culprit}"
        )

    def _after_step(self, terms: dict[str, Tensor], seconds: float) -> None:
        step, last = self.progress.step, self.progress.step == self.config.steps
        head = {"stage": self.stage.name, "step": step, "steps": self.config.steps, "seconds": seconds}
        logged = {name: float(value) for name, value in terms.items()} if step % 10 == 0 or last else {}
        picture = None
        if step % self.config.validate_every == 0 or last:
            scores, picture = self._validate()
            logged |= scores
        if logged and self.fabric.is_global_zero:
            with (self.folder / LOG).open("a", encoding="utf-8") as file:
                file.write(json.dumps(head | logged) + "\n")
        if step % self.config.checkpoint_every == 0:
            self._save()  # after the log, which is cut to the checkpoint's step: a kill between the two loses no record
        self.report(head | logged | ({} if picture is None else {"picture": picture}))

    def _validate(self) -> tuple[dict[str, float], np.ndarray | None]:
        """Score the averaged weights on the validation patients, keep the best, and leave a picture."""
        if not self.fabric.is_global_zero:
            return {}, None
        with self.ema.applied(), self.fabric.autocast():
            self.kept.eval()
            scores, picture = self.stage.validate(self.validation)
            self.kept.train()
        write_atomically(self.folder / PICTURE, lambda path: write_png(picture, path))
        score = next(iter(scores.values()))
        if score > self.progress.best:
            self.progress.best = score
            save_state(self.folder / BEST, {"step": self.progress.step, **scores, "weights": self.ema.average})
        return scores, picture

    def _save(self) -> None:
        if not self.fabric.is_global_zero:
            return
        state = {
            "progress": dict(vars(self.progress)),
            MODULES: {name: module.state_dict() for name, module in self.stage.modules.items()},
            "optimisers": {name: optimiser.state_dict() for name, optimiser in self.optimisers.items()},
            "ema": self.ema.average,
        }
        save_checkpoint(self.folder / CHECKPOINT, state)

    def _load(self) -> None:
        """Go on where the folder's checkpoint stands, if it has one; what was logged after it is logged again."""
        state = load_checkpoint(self.folder / CHECKPOINT)
        if self.fabric.is_global_zero:
            cut_log(self.folder / LOG, 0 if state is None else state["progress"]["step"])
        if state is None:
            return
        try:
            self._restore(state)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{self.folder / CHECKPOINT}: does not belong to this recipe ({reason})") from None

    def _restore(self, state: dict[str, Any]) -> None:
        self.progress = Progress(**state["progress"])
        for name, module in self.stage.modules.items():
            former = name if name in state[MODULES] else FORMER_NAMES[name]
            weights = {key.replace(f"{former}.", f"{name}.", 1): value for key, value in state[MODULES][former].items()}
            module.load_state_dict(weights)
            self.optimisers[name].load_state_dict(state["optimisers"][former])
        self.ema.load(state["ema"])


def cut_log(path: Path, step: int) -> None:
    """Forget the records of later steps, and half a record at the end: a run that goes on writes them again.

    Raises:
        InputError: the log cannot be read or written.
    """
    if not path.exists():
        return
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    kept = b"".join(line for line in lines if _logged_by(line, step))
    if kept != b"".join(lines):
        write_atomically(path, lambda name: name.write_bytes(kept))


def _logged_by(line: bytes, step: int) -> bool:
    try:
        return line.endswith(b"\n") and json.loads(line)["step"] <= step
    except (ValueError, LookupError, TypeError):
        return False


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C or a scheduler's SIGTERM sets, so that the step in progress ends and is saved."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = {kind: signal.signal(kind, lambda *_: event.set()) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for kind, handler in previous.items():
            signal.signal(kind, handler)
