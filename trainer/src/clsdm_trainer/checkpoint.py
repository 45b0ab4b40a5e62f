"""Training state in one safetensors file: tensors by path, everything else as JSON in its header. No pickle.

The file appears whole or not at all, and carries checksums: one of the JSON, which in turn holds one of each tensor. A
file that has changed since is refused by name, never trained on. Of a checkpoint the one before is kept beside it
(:func:`save_checkpoint`), from which a run goes on where the last one is damaged.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from clsdm.errors import InputError
from clsdm.files.atomic import write_atomically

_TENSOR, _HASH = "__tensor__", "sha256"
_HEADER = ({"state"}, {"state", _HASH})
"""Without a hash: files of before there were any."""


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Save a nested structure of dicts, lists, numbers, strings and tensors.

    Raises:
        InputError: the file cannot be written.
    """
    tensors: dict[str, torch.Tensor] = {}
    text = json.dumps(_strip(state, "", tensors))
    metadata = {"state": text, _HASH: hashlib.sha256(text.encode()).hexdigest()}

    def write(name: Path) -> None:
        name.touch()
        mode = name.stat().st_mode  # by the umask; the library's file is its user's alone
        try:
            save_file(tensors, name, metadata=metadata)
            name.chmod(mode)
        except SafetensorError as error:  # of the system, most likely
            raise OSError(str(error)) from error

    write_atomically(path, write, sum(each.numel() * each.element_size() for each in tensors.values()))


def load_state(path: Path) -> dict[str, Any]:
    """The state that :func:`save_state` saved, on the CPU.

    Raises:
        InputError: missing or damaged.
    """
    return _load(path, lambda skeleton: skeleton)


def load_part(path: Path, name: str) -> Any:  # noqa: ANN401 - any nesting
    """One entry of a state, without reading the tensors of the others.

    Raises:
        InputError: missing or damaged, or there is no such entry.
    """
    return _load(path, lambda skeleton: dict(skeleton)[name])


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Save a state, and keep the one that was there before as :func:`previous`.

    Raises:
        InputError: the file cannot be written.
    """
    fresh = path.with_name(f"{path.stem}.next{path.suffix}")
    save_state(fresh, state)
    try:
        if path.exists():
            path.replace(previous(path))
        fresh.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """The last checkpoint, or None where there is none yet.

    Between the two renames of :func:`save_checkpoint` a cut leaves only the previous one, which then is the last.

    Raises:
        InputError: damaged; the message says how to go on.
    """
    before = previous(path)
    if not path.exists():
        return load_state(before) if before.exists() else None
    try:
        return load_state(path)
    except InputError as error:
        raise InputError(f"{error}; {_way_on(path, before)}") from None


def previous(path: Path) -> Path:
    """Where the checkpoint before the last one is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def _way_on(path: Path, before: Path) -> str:
    try:
        step = load_part(before, "progress")["step"]
        load_state(before)
    except InputError:
        return f"there is no good one before it either: move {path.parent} away and train the stage again"
    return f"move it away, and the same command goes on from {before.name} (step {step})"


def _load(path: Path, chosen: Any) -> Any:  # noqa: ANN401 - any nesting
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if set(metadata) not in _HEADER:
                raise InputError(f"{path}: not a usable checkpoint (its header is not that of a training state)")
            text, expected = metadata["state"], metadata.get(_HASH)
            if expected not in (None, hashlib.sha256(text.encode()).hexdigest()):
                raise InputError(f"{path}: not a usable checkpoint (damaged: its header has another SHA-256)")
            return _fill(chosen(json.loads(text)), lambda entry: _checked(path, file, entry))
    except InputError:
        raise
    except (OSError, SafetensorError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise InputError(f"{path}: not a usable checkpoint ({error})") from None


def _checked(path: Path, file: Any, entry: dict[str, str]) -> torch.Tensor:  # noqa: ANN401 - safetensors has no types
    tensor: torch.Tensor = file.get_tensor(entry[_TENSOR])
    if _HASH in entry and entry[_HASH] != _digest(tensor):
        raise InputError(f"{path}: not a usable checkpoint (damaged: {entry[_TENSOR]} has another SHA-256)")
    return tensor


def _digest(tensor: torch.Tensor) -> str:
    """SHA-256 of type, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
    digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _strip(value: Any, path: str, tensors: dict[str, torch.Tensor]) -> Any:  # noqa: ANN401 - any nesting
    if isinstance(value, torch.Tensor):
        tensors[path] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: path, _HASH: _digest(tensors[path])}
    if isinstance(value, dict):
        return [[key, _strip(item, f"{path}/{key}", tensors)] for key, item in value.items()]
    if isinstance(value, (list, tuple)):
        return {"list": [_strip(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]}
    return {"value": value}


def _fill(skeleton: Any, tensor: Any) -> Any:  # noqa: ANN401
    if isinstance(skeleton, list):
        return {key: _fill(item, tensor) for key, item in skeleton}
    if _TENSOR in skeleton:
        return tensor(skeleton)
    if "list" in skeleton:
        return [_fill(item, tensor) for item in skeleton["list"]]
    return skeleton["value"]
