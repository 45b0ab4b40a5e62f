"""Sections that recipes of every kind have: frozen, validated, and an unknown key is an error.

A stage's own section stands in the stage's file; ``recipe`` puts them together.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from clsdm.geometry.view import PRESETS
from clsdm_trainer.precision import Precision

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0, le=1e6)]
Strength = Annotated[float, Field(ge=0.0, le=10.0)]
Width = Annotated[int, Field(ge=1, le=16_384)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
"""Of steps and samples: more than anybody trains, few enough to be counted with."""
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Frozen(BaseModel):
    """Base of all configuration: immutable, no unknown keys, every number finite and within a range."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, table: Any) -> Any:  # noqa: ANN401
        """YAML reads ``yes`` and ``on`` as true, which would count as 1."""
        for name, value in table.items() if isinstance(table, dict) else ():
            kind = cls.model_fields[name].annotation if name in cls.model_fields else bool
            if isinstance(value, bool) and kind is not bool and bool not in get_args(kind):
                raise ValueError(f"{name}: expected {getattr(kind, '__name__', kind)}, not true or false")
        return table


MOST_VIEWS = 8


def _weights_of(value: dict[Any, float], known: Sequence[Any]) -> dict[Any, float]:
    """``value`` if it weighs nothing but what is known, and something at all."""
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"expected some of {', '.join(map(str, known))}, not {unknown[0]!r}")
    if not sum(value.values()) > 0.0:
        raise ValueError("expected at least one weight above 0")
    return value


class AugmentConfig(Frozen):
    """Ranges from which each training sample's anatomy pose and exposure are drawn.

    Attributes:
        scan_factor: edge of the scan's voxels that are joined to one, for the speed: a network of 6 mm learns nearly the
            same from scans of 4 mm, at a sixth of the time. Validation is on the scans as they are.
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
        between_probability: of deforming a scan of a scarce region towards another patient ('clsdm-train deform').
        presets: weight of each geometry preset.
        angle_jitter_deg: largest error of each view's angle (the network is given the true one).
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

    scan_factor: int = Field(default=1, ge=1, le=4)
    rotation_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 8.0
    scale: Annotated[float, Field(ge=0.0, le=0.9)] = 0.1
    shift_mm: Annotated[float, Field(ge=0.0, le=1000.0)] = 15.0
    stretch: Annotated[float, Field(ge=0.0, le=0.9)] = 0.0
    axial_shift_mm: Annotated[float, Field(ge=0.0, le=2000.0)] = 0.0
    flip_probability: Share = 0.5
    exact_probability: Share = 0.3
    extend_probability: Share = 0.0
    warp_probability: Share = 0.5
    warp_mm: Annotated[float, Field(ge=0.0, le=100.0)] = 0.0
    warp_controls: int = Field(default=7, ge=4, le=64)
    between_probability: Share = 0.0
    presets: dict[str, Weight] = Field(
        default={"chest": 0.5, "x2ct": 0.14, "c-arm": 0.13, "linac-kv": 0.13, "localizer": 0.1}
    )
    angle_jitter_deg: Annotated[float, Field(ge=0.0, le=180.0)] = 5.0
    tilt_jitter_deg: Annotated[float, Field(ge=0.0, le=40.0)] = 2.0
    distance_jitter: Annotated[float, Field(ge=0.0, le=0.5)] = 0.05
    view_counts: dict[int, Weight] = Field(default={2: 0.9, 4: 0.1})
    opposite_probability: Share = 0.1
    drop_probability: Share = 0.12
    gamma: Annotated[float, Field(ge=0.0, le=3.0)] = 0.2
    noise: Share = 0.02
    scatter: Share = 0.15
    collimation: Annotated[float, Field(ge=0.0, le=0.45)] = 0.15
    hardening: Share = 0.0
    tone: Strength = 0.0
    local_contrast: Strength = 0.0
    sharpness: Strength = 0.0
    patches: int = Field(default=0, ge=0, le=4)
    effect_probability: Share = 1.0
    radiograph_probability: Share = 0.35
    """Of a sample getting the intensity changes (gamma, noise, scatter, collimation) of a real radiograph."""

    @field_validator("presets")
    @classmethod
    def _presets_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        return _weights_of(value, sorted(PRESETS))

    @field_validator("view_counts")
    @classmethod
    def _counts_are_of_views(cls, value: dict[int, float]) -> dict[int, float]:
        return _weights_of(value, range(1, MOST_VIEWS + 1))


Beta = Annotated[float, Field(ge=0.0, lt=1.0)]


class OptimiserConfig(Frozen):
    """AdamW, or :class:`clsdm_trainer.optim.Muon`, with linear warm-up and cosine decay to zero.

    ``linear`` decay is constant for the first half and falls to zero in the second.
    """

    kind: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(gt=0.0, le=10.0)
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    weight_decay: float = Field(default=0.01, ge=0.0, le=10.0)
    warmup_steps: int = Field(default=100, ge=0, le=1_000_000_000)
    decay: Literal["cosine", "constant", "linear"] = "cosine"


class StageConfig(Frozen):
    """The part of a configuration that every stage has.

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

    steps: Count
    batch: int = Field(ge=1, le=4096)
    accumulate: int = Field(default=1, ge=1, le=65_536)
    optimiser: OptimiserConfig
    clip: float = Field(default=1.0, gt=0.0, le=1e6)
    ema: float = Field(default=0.999, ge=0.0, lt=1.0)
    validate_every: Count = 250
    checkpoint_every: Count = 250
    precision: Precision = "bf16-mixed"


class PlacementConfig(Frozen):
    """How scans become canonical cubes."""

    placement: Literal["body", "x2ct"] = "body"
    background: Literal["keep", "air"] = "keep"
    margin: int = Field(default=8, ge=0, le=128)
