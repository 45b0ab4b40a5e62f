"""Models in latent space, ours and the LDM without alignment, through ``clsdm.reconstruction`` like any user's bundle."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from clsdm.geometry.cameras import Cameras
from clsdm.model.bundle import SCHEMA, Bundle, FileEntry, Manifest
from clsdm.model.bundle_files import WEIGHTS
from clsdm.model.clsdm import CLSDM
from clsdm.model.condition import Condition
from clsdm.volume.hu import WINDOW_HU
from clsdm_bench.systems.recipe import BenchmarkConfig
from clsdm_bench.systems.stages import ALL_STAGES, JointStage, condition_without_mean
from clsdm_trainer.run import load_stage


class WithoutMean(CLSDM):
    """A model whose X-rays were never aligned with the latents."""

    def align(self, images: Tensor, cameras: Cameras) -> Condition:
        return condition_without_mean(self, images, cameras)


def latent_model(
    config: BenchmarkConfig, folder: Path, stages: Sequence[str], device: torch.device, trained: Sequence[str]
) -> CLSDM:
    """The model of a run.

    Args:
        config: recipe.
        folder: of the run.
        stages: of which it is made.
        device: to compute on.
        trained: stages whose best weights it gets; the others keep those that they start with.

    Raises:
        InputError: one of them has not been trained.
    """
    torch.manual_seed(config.seed)
    model = (WithoutMean if JointStage.name in stages else CLSDM)(config.model)
    for name in trained:
        load_stage(model, folder, ALL_STAGES[name])
    return model.eval().to(device)


def bundle_of(config: BenchmarkConfig, folder: Path) -> Bundle:
    """A bundle for ``clsdm.reconstruction`` around a model that is loaded already; there is no such file."""
    manifest = Manifest(SCHEMA, config.name, "0", "none", WINDOW_HU, config.model, "float32")
    return Bundle(folder, manifest, {WEIGHTS: FileEntry("", 0)})
