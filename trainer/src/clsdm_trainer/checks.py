"""Checks before a stage is trained: a store for another grid, sizes that do not fit, arithmetic that is wrong."""

from typing import Any

import torch

from clsdm.errors import InputError
from clsdm.model.bundle import check_sizes
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.model.condition import FOLD, Condition
from clsdm_trainer.data.splits import lacking
from clsdm_trainer.data.store import Store
from clsdm_trainer.precision import usable
from clsdm_trainer.recipe import RunConfig
from clsdm_trainer.stages import Stage

SMALLEST_BFLOAT16 = 4
"""Edge of a volume in voxels."""

AnyStage = type[Stage[Any]]


def check_store(store: Store, config: RunConfig) -> None:
    """Refuse a store that was prepared for another grid, or has nobody to learn from or to select on.

    Raises:
        InputError: grid, margin or placement differ, or a split is empty.
    """
    if store.grid != config.model.grid:
        raise InputError(
            f"{store.folder}: prepared for {store.grid}, the recipe {config.name} needs {config.model.grid}"
        )
    wanted = config.data.model_dump()
    found = {name: store.margin if name == "margin" else store.settings.get(name) for name in wanted}
    if found != wanted:
        raise InputError(f"{store.folder}: prepared with {found}, the recipe {config.name} needs {wanted}")
    missing = lacking({case.split for case in store.cases()})
    if missing:
        raise InputError(f"{store.folder}: {missing}")


def check_precision(config: RunConfig, stage: AnyStage, device: torch.device) -> None:
    """Refuse what torch computes wrongly.

    torch 2.13 on a CPU with AVX512-BF16: the weight gradients of a bfloat16 kernel of 3³ on 2³ voxels are garbage (up to
    1e37, from memory that was never written).

    Raises:
        InputError: the stage trains such a level with bf16-mixed on a CPU.
    """
    coarsest = stage.coarsest(config.model)
    if coarsest is None or coarsest >= SMALLEST_BFLOAT16 or device.type != "cpu":
        return
    if usable(config.section(stage).precision, device) == "bf16-mixed":
        raise InputError(
            f"{stage.name}.precision: bf16-mixed on a CPU needs at least {SMALLEST_BFLOAT16}³ voxels at the coarsest level, "
            f"this recipe goes down to {coarsest}³, where torch's gradients are wrong; use 32-true, a GPU, or fewer levels"
        )


def check_networks(config: RunConfig, stage: AnyStage) -> None:
    """Refuse sizes that do not fit together: networks are built and run once on torch's device without memory.

    Raises:
        InputError: what torch or a network says of it.
    """
    model, section = config.model, config.section(stage)
    check_sizes(model, f"recipe {config.name}: model")
    try:
        _check_levels(model)
        with torch.device("meta"), torch.no_grad():
            networks = CLSDM(model)
            stage(networks, section)
            unit = torch.empty(2, 1, *[model.grid.size] * 3)
            latents = networks.encode(unit)
            networks.decode(latents)
            features = torch.empty(2, model.condition.condition_channels, *latents.shape[2:])
            networks.denoise(latents, torch.empty(2), Condition(features, latents, unit))
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"recipe {config.name}: its networks do not fit together ({reason})") from None


def _check_levels(model: ModelConfig) -> None:
    """Sizes that a network halves must be divisible as often, or its way up would not meet its way down."""
    for name, size, levels in (
        ("condition.channels", model.grid.size // model.condition.fold, len(model.condition.channels) - 1),
        ("condition.fine", model.grid.size // FOLD, len(model.condition.fine) - 1),
        ("condition.image_channels", model.detector.size, len(model.condition.image_channels)),
        ("denoiser.channels", model.latent_size // model.denoiser.patch, len(model.denoiser.channels) - 1),
    ):
        if size < 1 or size % 2 ** max(levels, 0):
            raise ValueError(f"model.{name}: an edge of {size} cannot be halved {levels} times")
