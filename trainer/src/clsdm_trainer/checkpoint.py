"""Training state in one safetensors file: tensors by path, everything else as JSON in its header. No pickle.

The file appears whole or not at all, so a run killed while saving continues from the checkpoint before.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from clsdm.errors import InputError
from clsdm.volume.ct import write_atomically

_TENSOR = "__tensor__"


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Save a nested structure of dicts, lists, numbers, strings and tensors.

    Raises:
        InputError: the file cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = _strip(state, "", tensors)
    metadata = {"state": json.dumps(skeleton)}
    write_atomically(path, lambda name: save_file(tensors, name, metadata=metadata))


def load_state(path: Path) -> dict[str, Any]:
    """What :func:`save_state` saved, on the CPU.

    Raises:
        InputError: missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})["state"])
            return _fill(skeleton, file.get_tensor)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a usable checkpoint ({error})") from None


def load_part(path: Path, name: str) -> Any:  # noqa: ANN401 - any nesting
    """One entry of a state that holds no tensors, without reading those of the others.

    Raises:
        InputError: missing or damaged, or there is no such entry.
    """
    try:
        with safe_open(path, framework="pt") as file:
            skeleton = json.loads((file.metadata() or {})["state"])
            return _fill(dict(skeleton)[name], file.get_tensor)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a usable checkpoint ({error})") from None


def _strip(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:  # noqa: ANN401 - any nesting
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path}
    if isinstance(value, dict):
        return [[key, _strip(item, f"{path}/{key}", tensors)] for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return {"list": [_strip(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]}
    return {"value": value}


def _fill(skeleton: Any, tensor: Any) -> Any:  # noqa: ANN401
    if isinstance(skeleton, list):
        return {key: _fill(item, tensor) for key, item in skeleton}
    if _TENSOR in skeleton:
        return tensor(skeleton[_TENSOR])
    if "list" in skeleton:
        return [_fill(item, tensor) for item in skeleton["list"]]
    return skeleton["value"]
