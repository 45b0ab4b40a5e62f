"""Other engines against torch on the same CPU: the whole ``mean``, and a denoiser's step and the decoder of a sample.

torch in float32 and, where the processor computes it, in bfloat16 (autocast), against the exported file in ONNX Runtime
(float32) and in OpenVINO (float32, and bfloat16 by its hint). Bar for OpenVINO as an option of the program: 1.2 times faster
than torch bfloat16.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measuring import Comparison, main
from models import random_model, tiny

from clsdm.engines import NETWORKS, Part, example, export_onnx
from clsdm.model.bundle import SCHEMA, Manifest, write_bundle
from clsdm.volume.hu import WINDOW_HU
from clsdm_trainer.precision import has_fast_bfloat16
from clsdm_trainer.recipe import load_config


def in_torch(part: Part, inputs: tuple[torch.Tensor, ...], precision: torch.dtype) -> None:
    """One call."""
    with torch.inference_mode(), torch.autocast("cpu", precision, enabled=precision != torch.float32):
        part(*inputs)


def in_onnxruntime(path: Path, inputs: dict[str, Any], threads: int) -> Callable[[], object]:
    """The file loaded; each call is one run."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])
    return partial(session.run, None, inputs)


def in_openvino(path: Path, inputs: dict[str, Any], threads: int, precision: str) -> Callable[[], object]:
    """The file compiled; each call is one inference."""
    import openvino

    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return partial(compiled.create_infer_request().infer, inputs)


def comparisons(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """One for each network."""
    if device.type != "cpu":
        raise SystemExit("--device cpu: these engines are compared on it alone")
    config = load_config(arguments.preset).model
    config = tiny(config) if arguments.smoke else config
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = random_model(config, device).state_dict()
        manifest = Manifest(SCHEMA, "random", "0", "none: random weights", WINDOW_HU, config, "float32")
        bundle = write_bundle(folder / "bundle", manifest, weights, "# Random\n", {})
        model = bundle.model()
        for network in arguments.networks:
            path = folder / f"{network}.onnx"
            export_onnx(bundle, path, network)
            inputs, part = example(model, network, 2, 1), Part(model, NETWORKS[network]).eval()
            arrays = {key: value.numpy() for key, value in zip(NETWORKS[network].inputs, inputs, strict=True)}
            calls: dict[str, Callable[[], object]] = {"torch float32": partial(in_torch, part, inputs, torch.float32)}
            fast = has_fast_bfloat16(device)
            if fast:
                calls["torch bfloat16"] = partial(in_torch, part, inputs, torch.bfloat16)
            calls["ONNX Runtime float32"] = in_onnxruntime(path, arrays, threads)
            if importlib.util.find_spec("openvino"):
                for precision in ("f32", "bf16") if fast else ("f32",):
                    calls[f"OpenVINO {precision}"] = in_openvino(path, arrays, threads, precision)
            best = "torch bfloat16" if fast else "torch float32"
            ratios = [(best, other) for other in calls if other != best]
            yield Comparison(f"{network}, {config.grid.size}³ voxels, {threads} threads", calls, ratios)


if __name__ == "__main__":
    main(
        __doc__,
        comparisons,
        {
            "preset": {"default": "body128", "help": "whose networks are measured, with random weights"},
            "networks": {"nargs": "+", "choices": NETWORKS, "default": ["mean", "denoise", "decode"]},
        },
        rounds=5,
    )
