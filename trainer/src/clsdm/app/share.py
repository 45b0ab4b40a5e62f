"""The share of one process in many patients, by what torchrun or a SLURM array says in the environment."""

from collections.abc import Mapping, Sequence

from clsdm.app.cases import Case
from clsdm.errors import InputError


def share(cases: Sequence[Case], environ: Mapping[str, str]) -> Sequence[Case]:
    """The cases of this process among those that torchrun, a SLURM array, or both have started.

    Raises:
        InputError: their variables are no numbers that fit together.
    """
    index, count = 0, 1
    for names in (("SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT"), ("RANK", "WORLD_SIZE")):
        texts = [environ.get(name) for name in names]
        if None in texts:
            continue
        try:
            at, of = (int(text or "") for text in texts)
            at -= int(environ.get("SLURM_ARRAY_TASK_MIN", "0")) if names[0].startswith("SLURM") else 0
        except ValueError:
            raise InputError(
                f"{names[0]}, {names[1]}: expected whole numbers, found {texts[0]!r} and {texts[1]!r}"
            ) from None
        if not 0 <= at < of:
            raise InputError(
                f"{names[0]}={texts[0]}, {names[1]}={texts[1]}: expected tasks without gaps, like --array=0-9"
            )
        index, count = index * of + at, count * of
    return cases[index::count]


def take_own_gpu(environ: Mapping[str, str]) -> None:
    """Where torchrun has started a process for each GPU of this machine, take the one that is meant."""
    import torch

    if (local := environ.get("LOCAL_RANK", "")).isdecimal() and (gpus := torch.cuda.device_count()):
        torch.cuda.set_device(int(local) % gpus)
