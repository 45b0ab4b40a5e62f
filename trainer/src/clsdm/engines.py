"""The networks for other engines: ONNX files, each compared with torch before it is kept.

What an engine has to do besides (bringing X-rays onto the virtual detector, drawing samples, HU) is not in the files:
:func:`inputs_of` gives the inputs of ``mean`` and ``align``. Values are in the unit range, latents normalised.
"""

from __future__ import annotations

import json
import logging
import mmap
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically
from clsdm.files.names import refuse_overwriting, refuse_replacing
from clsdm.geometry.cameras import Cameras
from clsdm.geometry.view import MAX_VIEWS, PRESETS
from clsdm.limits import WEIGHTS_BYTES, check_bytes
from clsdm.model.bundle import MANIFEST, Bundle
from clsdm.model.clsdm import CLSDM
from clsdm.model.condition import Condition
from clsdm.xray.preprocess import cameras_for, prepare

if TYPE_CHECKING:
    from clsdm.xray.image import XRay

OPSET = 18
TOLERANCE = 1e-3
"""Between torch and the file, of values that lie mostly in [-1, 1]."""
CAMERA = ("source", "centre", "right", "down", "pixel_mm", "fan")
"""Of :class:`clsdm.geometry.cameras.Cameras`."""


@dataclass(frozen=True)
class Network:
    """A part of the model that another engine can run.

    Attributes:
        call: the part, of a model and its inputs.
        inputs: their names.
        outputs: what it gives.
    """

    call: Callable[..., Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def _mean(model: CLSDM, images: Tensor, *camera: Tensor) -> Tensor:
    return model.condition(images, _cameras(model, camera))[0]


def _align(model: CLSDM, images: Tensor, *camera: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    found = model.align(images, _cameras(model, camera))
    return found.estimate, found.mean, found.features


def _denoise(model: CLSDM, x: Tensor, t: Tensor, mean: Tensor, features: Tensor) -> Tensor:
    return model.denoise(x, t, Condition(features, mean, mean))


def _cameras(model: CLSDM, camera: Sequence[Tensor]) -> Cameras:
    size = model.config.detector.size
    source, centre, right, down, pixel_mm, fan = camera
    return Cameras(source, centre, right, down, pixel_mm, fan, size, size)


NETWORKS = {
    "mean": Network(_mean, ("images", *CAMERA), ("unit",)),
    "align": Network(_align, ("images", *CAMERA), ("estimate", "mean", "features")),
    "encode": Network(CLSDM.encode, ("unit",), ("latents",)),
    "decode": Network(CLSDM.decode, ("latents",), ("unit",)),
    "denoise": Network(_denoise, ("x", "t", "mean", "features"), ("predicted",)),
}
"""``mean`` is the whole of that product; ``align``, ``denoise`` and ``decode`` are what a sample takes, in this order, with
``encode`` of the estimate and its noise before ``denoise`` where the process has noise like the estimate's errors."""


class Part(nn.Module):
    """One of :data:`NETWORKS` as a module; the rest of the model is left out of what is made of it."""

    def __init__(self, model: CLSDM, network: Network) -> None:
        super().__init__()
        self.model, self.part = model, network.call

    def forward(self, *inputs: Tensor) -> Any:  # noqa: ANN401 - a tensor or several
        return self.part(self.model, *inputs)


def inputs_of(xrays: Sequence[XRay], bundle: Bundle) -> dict[str, np.ndarray]:
    """The inputs of ``mean`` and ``align`` by name, float32: images (1, V, 2, s, s) and the cameras of V views."""
    images, cameras = prepare(xrays, bundle.manifest.model.detector, torch.device("cpu"))
    return {"images": images.numpy(), **{name: getattr(cameras, name).numpy() for name in CAMERA}}


def example(model: CLSDM, name: str, views: int, seed: int) -> tuple[Tensor, ...]:
    """Inputs of a network: random ones, from views that differ with the seed."""
    random, config = torch.Generator().manual_seed(seed), model.config
    latents = (1, *model.latent_shape)
    shapes = {
        "images": (1, views, 2, config.detector.size, config.detector.size),
        "unit": (1, 1, *[config.grid.size] * 3),
        "features": (1, config.condition.condition_channels, *latents[2:]),
    }
    if name not in ("mean", "align"):
        names = NETWORKS[name].inputs
        made = {each: 0.5 * torch.randn(shapes.get(each, latents), generator=random) for each in names}
        return tuple(torch.rand(1, generator=random) if each == "t" else made[each] for each in names)
    machine = PRESETS["chest" if seed % 2 == 0 else "c-arm"]
    angles = [seed * 7.0 + 90.0 * number for number in range(views)]
    cameras = cameras_for([[machine.view(angle, 64) for angle in angles]], config.detector)
    images = 0.5 * torch.randn(shapes["images"], generator=random)
    images[:, :, 1] = 1.0
    return (images, *(getattr(cameras, each) for each in CAMERA))


def export_onnx(bundle: Bundle, path: Path, name: str = "mean", views: int = 2) -> float | None:
    """Write a network as an ONNX file, weights inside, float32; nothing is kept that differs from torch.

    Args:
        bundle: the model.
        path: to write.
        name: of :data:`NETWORKS`.
        views: X-rays that ``mean`` and ``align`` take, no more and no fewer.

    Returns:
        The largest difference from torch on other inputs than those it was made with; None where onnxruntime is not
        installed.

    Raises:
        InputError: a package is missing, the file cannot be written, or is there and was not exported here, or the network
            came out another one.
    """
    if not 1 <= views <= MAX_VIEWS:
        raise InputError(f"views: expected 1 to {MAX_VIEWS}, got {views}")
    try:
        import onnxscript  # noqa: F401 - torch's exporter needs it
    except ImportError:
        raise InputError("ONNX needs the package onnxscript; install it with: pip install 'clsdm[onnx]'") from None
    refuse_overwriting([path], [bundle.path, *(bundle.path / each for each in (MANIFEST, *bundle.files))])
    refuse_replacing([path], is_exported)
    model, network = bundle.model("cpu"), NETWORKS[name]
    part = Part(model, network).eval()
    size = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    check_bytes(size, WEIGHTS_BYTES - 2**24, path, "weights in one ONNX file")
    program = _program(part, example(model, name, views, 0), network)
    program.model.metadata_props.update(_about(bundle, name))
    differences: list[float | None] = []

    def write(scratch: Path) -> None:
        program.save(str(scratch))
        differences.append(_difference(part, scratch, network, example(model, name, views, 1)))

    write_atomically(path, write, size)
    return differences[0]


def is_exported(path: Path) -> bool:
    """Whether a file is a network that :func:`export_onnx` wrote, by the name of one of its properties (:func:`_about`)."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(b"model_sha256") >= 0
    except (OSError, ValueError):  # the latter of an empty file
        return False


def _program(part: Part, inputs: tuple[Tensor, ...], network: Network) -> Any:  # noqa: ANN401 - torch's ONNXProgram
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of packages that are not needed
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own calls
        return torch.onnx.export(
            part, inputs, dynamo=True, opset_version=OPSET, input_names=network.inputs, output_names=network.outputs,
            verbose=False,
        )  # fmt: skip


def _difference(part: Part, path: Path, network: Network, inputs: tuple[Tensor, ...]) -> float | None:
    """The file's result against torch's.

    Raises:
        InputError: they differ by more than rounding.
    """
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {name: value.numpy() for name, value in zip(network.inputs, inputs, strict=True)})
    with torch.inference_mode():
        known = part(*inputs)
    known = known if isinstance(known, tuple) else (known,)
    most = max(float(np.abs(one - other.numpy()).max()) for one, other in zip(found, known, strict=True))
    if not most <= TOLERANCE:
        raise InputError(f"{path}: differs from torch by {most:.2g}; expected at most {TOLERANCE:g}")
    return most


def _about(bundle: Bundle, name: str) -> Mapping[str, str]:
    """Facts that whoever finds the file must know."""
    manifest = bundle.manifest
    properties = {
        "notice": manifest.notice, "licence": manifest.licence, "network": name, "window_hu": manifest.window_hu,
        "model": f"{manifest.id} {manifest.version}", "model_sha256": bundle.hash,
        "grid_spacing_mm": manifest.model.grid.spacing_mm, "detector_field_mm": manifest.model.detector.field_mm,
    }  # fmt: skip
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in properties.items()}
