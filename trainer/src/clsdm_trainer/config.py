"""Sections that recipes of every kind have: frozen, validated, and an unknown key is an error.

A stage's own section stands in the stage's file; ``recipe`` puts them together.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from clsdm_trainer.precision import Precision


class Frozen(BaseModel):
    """Base of all configuration: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AugmentConfig(Frozen):
    """Ranges from which each training sample's anatomy pose and exposure are drawn.

    Attributes:
        rotation_deg: largest rotation about each axis.
        scale: largest relative change of size.
        shift_mm: largest shift along each axis.
        stretch: largest relative change of size along each axis by itself.
        axial_shift_mm: largest further shift along z: long scans give many crops.
        flip_probability: of mirroring left and right.
        exact_probability: of neither turning nor scaling, and of shifting by whole voxels.
        extend_probability: of repeating the end slices of a scan until the patient leaves the cube, as patients do.
        warp_probability: of deforming the anatomy.
        warp_mm: standard deviation of the displacements of the deformation's control points.
        warp_controls: control points of the cubic B-spline along each axis.
        presets: weight of each geometry preset.
        angle_jitter_deg: largest error of each view's angle (the network is told the true one).
        tilt_jitter_deg: largest cranio-caudal angulation.
        distance_jitter: largest relative change of both distances.
        view_counts: weight of each number of views.
        opposite_probability: of a view taken from the other side (AP for PA, right for left lateral).
        drop_probability: of losing one view of several.
        gamma: largest log-change of the intensity curve.
        noise: largest standard deviation of noise, relative to the image's range.
        scatter: largest share of blurred background added.
        collimation: largest share of the field hidden at each border.
        hardening: largest share by which the densest pixel is lowered by beam hardening.
        tone: largest strength of an S-shaped curve.
        local_contrast: largest strength of a change of local contrast.
        sharpness: largest strength of sharpening and blurring.
        patches: largest number of letters, markers and labels.
        effect_probability: of each of these in a sample that gets any.
    """

    rotation_deg: float = 8.0
    scale: float = 0.1
    shift_mm: float = 15.0
    stretch: float = 0.0
    axial_shift_mm: float = 0.0
    flip_probability: float = 0.5
    exact_probability: float = 0.3
    extend_probability: float = 0.0
    warp_probability: float = 0.5
    warp_mm: float = 0.0
    warp_controls: int = Field(default=7, ge=4)
    presets: dict[str, float] = Field(default={"chest": 0.55, "x2ct": 0.15, "c-arm": 0.15, "linac-kv": 0.15})
    angle_jitter_deg: float = 5.0
    tilt_jitter_deg: float = 2.0
    distance_jitter: float = 0.05
    view_counts: dict[int, float] = Field(default={2: 0.9, 4: 0.1})
    opposite_probability: float = 0.1
    drop_probability: float = 0.12
    gamma: float = 0.2
    noise: float = 0.02
    scatter: float = 0.15
    collimation: float = 0.15
    hardening: float = 0.0
    tone: float = 0.0
    local_contrast: float = 0.0
    sharpness: float = 0.0
    patches: int = Field(default=0, ge=0, le=4)
    effect_probability: float = 1.0
    radiograph_probability: float = 0.35
    """Of a sample getting the intensity changes (gamma, noise, scatter, collimation) of a real radiograph."""


class OptimiserConfig(Frozen):
    """AdamW, or :class:`clsdm_trainer.optim.Muon`, with linear warm-up and cosine decay to zero.

    ``linear`` decay is constant for the first half and falls to zero in the second.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(gt=0.0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(default=0.01, ge=0.0)
    warmup_steps: int = Field(default=100, ge=0)
    decay: Literal["cosine", "constant", "linear"] = "cosine"


class StageConfig(Frozen):
    """What every stage has.

    Attributes:
        steps: optimiser steps in all.
        batch: samples in a micro-batch, on each device.
        accumulate: micro-batches in a step, over all devices together.
        clip: largest gradient norm.
        ema: decay of the exponential moving average of the weights (ramped up at the start).
        validate_every: steps between validations (and pictures).
        checkpoint_every: steps between checkpoints.
        precision: Lightning Fabric's name of it.
    """

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    accumulate: int = Field(default=1, ge=1)
    optimiser: OptimiserConfig
    clip: float = Field(default=1.0, gt=0.0)
    ema: float = Field(default=0.999, ge=0.0, lt=1.0)
    validate_every: int = Field(default=250, ge=1)
    checkpoint_every: int = Field(default=250, ge=1)
    precision: Precision = "bf16-mixed"


class PlacementConfig(Frozen):
    """How scans become canonical cubes."""

    placement: Literal["body", "x2ct"] = "body"
    background: Literal["keep", "air"] = "keep"
    margin: int = 8
