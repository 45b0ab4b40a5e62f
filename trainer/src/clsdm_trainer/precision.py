"""Which arithmetic a recipe gets on the machine at hand."""

import os
import warnings
from typing import Literal

import torch

Precision = Literal["32-true", "bf16-mixed"]
"""Lightning Fabric's names."""


def usable(precision: Precision, device: torch.device) -> Precision:
    """The precision of a recipe, and float32 for bfloat16 where the processor has none.

    There torch converts every operand back and forth, and a step takes several times as long as in float32. The recipe
    stays the same: what it was trained with stands in ``environment.json``.
    """
    imitated = precision == "bf16-mixed" and device.type == "cpu" and not has_fast_bfloat16(device)
    return "32-true" if imitated else precision


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed in hardware: by a CPU with AVX512-BF16 or AMX, or a CUDA GPU since Ampere.

    True where torch does not tell: on a CPU before torch 2.10, and on ARM.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return known.get("architecture") != "x86_64" or bool(known.get("avx512_bf16") or known.get("amx_bf16"))


def repeat_exactly(device: torch.device) -> None:
    """Make the same steps end in the same bits on a GPU, as they do on a CPU, as far as torch can.

    It cannot where a gradient is scattered into an image or volume that was sampled (``grid_sample``, ``interpolate``):
    the sums of stage ``alignment`` and of the benchmark's INRR3CT are taken in whatever order the GPU's threads come.
    """
    if device.type != "cuda":
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when torch makes its first handle
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    warnings.filterwarnings("ignore", message=".*does not have a deterministic implementation.*")
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
