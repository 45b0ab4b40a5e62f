"""The three stages of the training, each in one file: what it needs, trains, minimises and leaves behind.

``STAGES`` names them in the order in which they are trained; ``base`` says what any stage is, also a baseline's.
"""

from typing import Any

from clsdm_trainer.stages.alignment import AlignmentStage
from clsdm_trainer.stages.autoencoder import AutoencoderStage
from clsdm_trainer.stages.base import Stage
from clsdm_trainer.stages.diffusion import DiffusionStage

__all__ = ["STAGES", "AlignmentStage", "AutoencoderStage", "DiffusionStage", "Stage"]

STAGES: dict[str, type[Stage[Any]]] = {
    stage.name: stage for stage in (AutoencoderStage, AlignmentStage, DiffusionStage)
}
