"""The choices of a reconstruction, and the device that computes it. torch is imported when a device is chosen."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

from clsdm.errors import InputError

if TYPE_CHECKING:
    import torch

Product = Literal["mean", "sample", "ensemble"]
PRODUCTS: tuple[Product, ...] = ("mean", "sample", "ensemble")
SAMPLES_AT_ONCE, MOST_AT_ONCE = 2, 64  # at batch 1 the small convolutions of a CPU are slower than half a batch of 2


@dataclass(frozen=True)
class Options:
    """How to reconstruct.

    Attributes:
        product: "mean", "sample" or "ensemble".
        steps: evaluations of the denoiser per sample; the model's default if None.
        samples: K of the ensemble.
        seed: of the samples.
        device: "auto", "cpu" or "cuda".
        consistency: correct the volume until its projections explain the X-rays (``model.consistency``).
        refine: find each view's pose by how well the volume explains the X-rays (``refine``).
        at_once: samples that are drawn together; fewer take less memory, and each is the same.
        measure: measure lungs, heart, spine and outline in the volume (``quality.measure``).
    """

    product: Product = "mean"
    steps: int | None = None
    samples: int = 8
    seed: int = 0
    device: str = "auto"
    consistency: bool = False
    refine: bool = False
    at_once: int = SAMPLES_AT_ONCE
    measure: bool = True

    def __post_init__(self) -> None:
        if self.product not in PRODUCTS:
            raise InputError(f"product: expected one of {', '.join(PRODUCTS)}, got {self.product!r}", field="options")
        for name in ("steps", "samples", "seed", "at_once"):
            value = getattr(self, name)
            if value is None and name == "steps":
                continue
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise InputError(f"{name}: expected a whole number, got {value!r}", field="options")
            object.__setattr__(self, name, int(value))  # numpy's cannot go into a record
        if self.steps is not None and not 1 <= self.steps <= 1000:
            raise InputError(f"steps: expected 1 to 1000, got {self.steps}", field="options")
        if not 2 <= self.samples <= 1000:
            raise InputError(f"samples: an ensemble needs 2 to 1000, got {self.samples}", field="options")
        if not 0 <= self.seed < 2**63:
            raise InputError(f"seed: expected a whole number from 0 to 2^63 - 1, got {self.seed}", field="options")
        if not 1 <= self.at_once <= MOST_AT_ONCE:
            raise InputError(f"at_once: expected 1 to {MOST_AT_ONCE} samples, got {self.at_once}", field="options")

    @property
    def recorded(self) -> dict[str, Any]:
        """What a volume's provenance says of them; ``steps`` are the model's where they are None."""
        return {
            "product": self.product,
            "seed": None if self.product == "mean" else self.seed,
            "samples": self.samples if self.product == "ensemble" else None,
            "steps": None if self.product == "mean" else self.steps,
            "consistency": self.consistency,
            "refined": self.refine,
        }


def choose_device(name: str) -> torch.device:
    """The device to compute on; ``auto`` takes a CUDA GPU where there is one.

    Raises:
        InputError: unknown, not on this machine, or computed wrongly by this version of torch.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise InputError(f"device: expected auto, cpu or cuda, got {name!r}", field="device")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: cuda was asked for, but torch finds no CUDA GPU", "use --device cpu", "device")
    if name == "cuda" and torch.__version__.startswith("2.9."):  # pytorch #163539; right before and after
        raise InputError(
            f"device: torch {torch.__version__} computes bfloat16 convolutions of volumes wrongly on CUDA",
            "install torch 2.10 or later, or use --device cpu",
            "device",
        )
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    return torch.device(name)
