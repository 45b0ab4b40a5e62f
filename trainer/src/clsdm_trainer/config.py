"""What a run is made of: one frozen, validated object, from a named preset or a YAML file.

An unknown key is an error, and the resolved configuration is saved with the run. Network sizes are the dataclasses of
the core, so a bundle and a recipe speak of the same thing.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from clsdm.errors import InputError
from clsdm.model.clsdm import ModelConfig
from clsdm.volume.ct import write_atomically


class Frozen(BaseModel):
    """Base of all configuration: immutable, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class X2CTConfig(Frozen):
    """Sizes of the X2CT generator; the defaults are the published ones, for 128³ voxels (``baselines.x2ct``).

    Attributes:
        kind: tells it from the other networks.
        stem: channels of the first convolution.
        growth: channels that each layer of a dense block adds.
        layers: of each dense block; each block halves the resolution of the image once.
        link: channels that enter the linear layer from image to volume; None for all of them.
        decoder: widths of the volume, coarsest (4³) first; one for each doubling of the resolution.
        norm: "group" is the published instance normalisation.
    """

    kind: Literal["x2ct"] = "x2ct"
    stem: int = 64
    growth: int = 32
    layers: tuple[int, ...] = (6, 12, 24, 16, 6)
    link: int | None = None
    decoder: tuple[int, ...] = (256, 128, 64, 32, 16, 16)
    norm: Literal["group", "voxel"] = "group"


class INRRConfig(Frozen):
    """Sizes of INRR3CT; the defaults are the published ones (``baselines.inrr``).

    Attributes:
        kind: tells it from the other networks.
        image_channels: widths of the 2-D U-Net, finest first.
        features: channels of its output, at full resolution.
        width: of the sine layers.
        omega: frequency of the sine activations.
        points: voxels of each volume at which the loss is taken.
        norm: of the 2-D U-Net.
    """

    kind: Literal["inrr3ct"] = "inrr3ct"
    image_channels: tuple[int, ...] = (64, 128, 256, 512)
    features: int = 128
    width: int = 128
    omega: float = 50.0
    points: int = 16384
    norm: Literal["group", "voxel"] = "group"


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


Precision = Literal["32-true", "bf16-mixed"]


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


class AutoencoderStageConfig(StageConfig):
    """Stage 1.

    Attributes:
        kl_weight: of the KL divergence, which sums over a volume's latents as published.
        mse_weight: of the squared error beside the published L1.
        blur_probability: of a blurred input, so that the decoder can also draw posterior means.
        adversarial_start: step at which the patch discriminator joins; None for never.
        adversarial_weight: its weight relative to the reconstruction's gradient.
    """

    kl_weight: float = 1e-6
    mse_weight: float = 5.0
    blur_probability: float = 0.25
    adversarial_start: int | None = None
    adversarial_weight: float = 0.5


class AlignmentStageConfig(StageConfig):
    """Stage 2.

    Attributes:
        voxel_weight: of the squared error of the CT estimate (the autoregressive constraint).
        contrast_weight: of the contrastive alignment.
        temperature: of the contrast.
        positions: latent voxels contrasted in each volume.
        consistency_weight: of the squared error of the re-projected estimate.
        project_every: steps from one re-projection to the next; it and its gradient cost as much as the network's.
        voxel_loss: "l2", or "l1" as published.
        contrast: "local-global" (ours), or "published": the saturating one (METHOD.md 2.6), kept for comparison.
    """

    voxel_weight: float = Field(default=20.0, ge=0.0)
    contrast_weight: float = Field(default=0.02, ge=0.0)
    temperature: float = Field(default=0.1, gt=0.0)
    positions: int = Field(default=256, ge=1)
    consistency_weight: float = Field(default=0.5, ge=0.0)
    project_every: int = Field(default=8, ge=1)
    voxel_loss: Literal["l1", "l2"] = "l2"
    contrast: Literal["local-global", "published"] = "local-global"


class DiffusionStageConfig(StageConfig):
    """Stage 3.

    Attributes:
        loss: on the network's output.
        frozen_precision: of the earlier stages' networks, which this one only uses; ``precision`` if None.
    """

    loss: Literal["l1", "l2"] = "l2"
    frozen_precision: Precision | None = None


class BaselineStageConfig(StageConfig):
    """A baseline that maps X-rays to voxels, trained in one stage (``baselines``).

    Attributes:
        network: its architecture.
        mse_weight: of the squared error.
        projection_weight: of the L1 error of the three mean projections (X2CT-GAN).
        adversarial_weight: of the least-squares adversarial term (X2CT-GAN); 0 for none.
        judge_channels: width of the patch discriminator.
        judge_layers: how often it halves the resolution.
    """

    network: X2CTConfig | INRRConfig = Field(discriminator="kind")
    mse_weight: float = 1.0
    projection_weight: float = 0.0
    adversarial_weight: float = 0.0
    judge_channels: int = 64
    judge_layers: int = 3


class PlacementConfig(Frozen):
    """How scans become canonical cubes."""

    placement: Literal["body", "x2ct"] = "body"
    background: Literal["keep", "air"] = "keep"
    margin: int = 8


class RunConfig(Frozen):
    """A whole recipe.

    ``joint`` replaces alignment and diffusion in the baseline LDM, ``baseline`` replaces all three stages in the others.
    """

    name: str
    seed: int = 0
    model: ModelConfig
    data: PlacementConfig = PlacementConfig()
    augment: AugmentConfig = AugmentConfig()
    autoencoder: AutoencoderStageConfig
    alignment: AlignmentStageConfig
    diffusion: DiffusionStageConfig
    joint: DiffusionStageConfig | None = None
    baseline: BaselineStageConfig | None = None


def preset_names() -> list[str]:
    """The shipped recipes."""
    folder = resources.files("clsdm_trainer") / "presets"
    return sorted(entry.name[: -len(".yaml")] for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_config(name_or_file: str) -> RunConfig:
    """A preset by name, or a YAML file.

    Raises:
        InputError: no such preset or file, or a field that does not belong or does not fit.
    """
    if name_or_file in preset_names():
        text = (resources.files("clsdm_trainer") / "presets" / f"{name_or_file}.yaml").read_text(encoding="utf-8")
    else:
        path = Path(name_or_file)
        if not path.is_file():
            raise InputError(f"configuration {name_or_file!r}: no such file, nor one of {', '.join(preset_names())}")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"configuration {name_or_file}: cannot be read as text ({error})") from None
    try:
        return RunConfig.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise InputError(f"configuration {name_or_file}: not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"configuration {name_or_file}: {field}: {first['msg']} (got {first['input']!r})") from None


def changed(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """The recipe with some of its fields replaced, as deep as the nested ``changes`` go.

    Raises:
        InputError: a change that does not belong or does not fit.
    """
    try:
        return RunConfig.model_validate(merged(config.model_dump(mode="json"), changes))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"change of {config.name}: {field}: {first['msg']} (got {first['input']!r})") from None


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``; tables are merged, everything else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict) and key not in _REPLACED
        result[key] = merged(result[key], value) if both else value
    return result


_REPLACED = ("presets", "view_counts")
"""Tables of weights, which are one value each."""


def save_config(config: RunConfig, path: Path) -> None:
    """Write the resolved configuration as YAML that :func:`load_config` reads back."""
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)

    def write(name: Path) -> None:
        name.write_bytes(text.encode())

    write_atomically(path, write)  # several processes may open one run at once
