"""A trained model as files: ``bundle.json``, ``model.safetensors`` and a model card, in a folder or a zip archive.

The manifest holds the networks' configuration, the HU window, what geometry the model was trained for, its licence and
figures, and the SHA-256 of every other file. Nothing in a bundle is ever executed: no pickle, no code, no path outside.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from clsdm import NOTICE
from clsdm.errors import InputError
from clsdm.files.atomic import written_together
from clsdm.files.digest import sealed
from clsdm.files.names import refuse_replacing
from clsdm.files.strict_json import from_plain, parse_json, to_plain
from clsdm.limits import CHANNELS, DETECTOR_SIZE, GRID_SIZE, LAYERS, WEIGHTS_BYTES, check_bytes
from clsdm.model.bundle_files import (
    CALIBRATION,
    CARD,
    MANIFEST,
    SCHEMA,
    WEIGHTS,
    FileEntry,
    as_table,
    bundle_path,
    check_files,
    embedded_bundles,
    read_manifest,
    reader,
)
from clsdm.model.clsdm import CLSDM, ModelConfig
from clsdm.plausible import check_plausible
from clsdm.volume.hu import WINDOW_HU

__all__ = [
    "CALIBRATION", "CARD", "MANIFEST", "SCHEMA", "WEIGHTS", "Bundle", "FileEntry", "Manifest", "bundle_path", "check_sizes",
    "decode_weights", "embedded_bundles", "encode_weights", "patient_mark", "write_bundle", "write_calibrated",
]  # fmt: skip

Encoding = Literal["float32", "float16", "int8"]


def patient_mark(patient: str) -> str:
    """One-way mark of a (de-identified) patient id."""
    return hashlib.sha256(f"clsdm-patient:{patient}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Manifest:
    """The content of ``bundle.json``.

    Attributes:
        schema: version of this format.
        id: name of the model.
        version: of the model.
        notice: what it must not be used for.
        licence: of the weights.
        window_hu: the HU window it was trained with.
        model: sizes of its networks, grid and detector.
        encoding: how weights are stored; ``int8`` keeps one scale per output channel.
        trained_presets: geometry presets it has seen.
        trained_patients: :func:`patient_mark` of each patient it was trained or selected on, so that an evaluation can
            refuse them.
        selected_patients: of them, those on whom checkpoints were selected and who were never trained on.
        trained_anatomy: what body region it has seen, in words.
        default_product: what ``reconstruct`` makes unless asked otherwise.
    """

    schema: int
    id: str
    version: str
    licence: str
    window_hu: tuple[float, float]
    model: ModelConfig
    encoding: Encoding
    trained_presets: tuple[str, ...] = ()
    trained_patients: tuple[str, ...] = ()
    selected_patients: tuple[str, ...] = ()
    trained_anatomy: str = ""
    default_product: Literal["mean", "sample", "ensemble"] = "mean"
    notice: str = NOTICE


@dataclass(frozen=True)
class Bundle:
    """An opened and verified bundle; make one with :meth:`open`.

    Attributes:
        path: folder or archive.
        manifest: what it is.
        files: its other files with their hashes.
        figures: results stored with the model, as they were measured.
        read: gives the bytes of one of its files.
    """

    path: Path
    manifest: Manifest
    files: dict[str, FileEntry]
    figures: dict[str, Any] = field(default_factory=dict)
    read: Callable[[str], bytes] = field(default=lambda name: b"", repr=False, compare=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | None = None) -> Bundle:
        """Open a bundle and check its manifest and every hash.

        Args:
            path: folder or archive, or the name of an embedded bundle; None for the embedded default.

        Raises:
            InputError: missing, damaged, of an unknown version, or with a file that is missing, altered or outside.
        """
        path = bundle_path(path)
        read = reader(path)
        manifest_name = f"{path}/{MANIFEST}"
        table, files = read_manifest(path, read)
        figures = as_table(table.pop("figures", {}), f"{manifest_name}: figures")
        manifest = from_plain(Manifest, table, manifest_name)
        if manifest.window_hu != WINDOW_HU:
            raise InputError(f"{manifest_name}: window_hu is {manifest.window_hu}, this program works with {WINDOW_HU}")
        check_sizes(manifest.model, f"{manifest_name}: model")
        bundle = cls(path, manifest, files, figures, read)
        bundle.verify()
        return bundle

    @property
    def paths(self) -> tuple[Path, ...]:
        """Where it lies: the folder or archive, and in a folder each of its files."""
        return self.path, *(self.path / name for name in (MANIFEST, *self.files))

    def verify(self) -> None:
        """Check every file's size and SHA-256.

        Raises:
            InputError: a file is missing or altered.
        """
        check_files(self.path, self.files)

    @property
    def hash(self) -> str:
        """SHA-256 of the weights: what identifies this model in a result's provenance."""
        return self.files[WEIGHTS].sha256

    @property
    def calibration(self) -> Any:  # noqa: ANN401 - JSON that ``clsdm.quality.intervals`` checks
        """The model's errors on patients, None where the bundle has no such table."""
        name = f"{self.path}/{CALIBRATION}"
        return parse_json(self.read(CALIBRATION), name) if CALIBRATION in self.files else None

    def model(self, device: torch.device | str = "cpu") -> CLSDM:
        """The networks with their weights, ready to run.

        Raises:
            InputError: the weights do not fit the configuration.
        """
        where = f"{self.path}/{WEIGHTS}"
        try:
            weights = decode_weights(load(self.read(WEIGHTS)), where)
        except SafetensorError as error:
            raise InputError(f"{where}: not safetensors ({error})") from None
        bad = next((name for name, value in weights.items() if not bool(value.isfinite().all())), None)
        if bad is not None:
            raise InputError(f"{where}: {bad} holds NaN or infinite values")
        with torch.device("meta"):  # shapes alone: a description may be of networks that no computer holds
            self._load({name: value.to("meta") for name, value in weights.items()}, where)
        return self._load(weights, where).to(device).eval().requires_grad_(False)

    def _load(self, weights: dict[str, Tensor], where: str) -> CLSDM:
        """The networks on torch's current device, with these weights."""
        try:
            model = CLSDM(self.manifest.model)
        except (ValueError, TypeError, IndexError, ArithmeticError, RuntimeError) as error:
            raise InputError(f"{self.path}/{MANIFEST}: model: cannot be built ({_last_line(error)})") from None
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"{where}: does not fit its configuration ({_last_line(error)})") from None
        return model


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def check_sizes(model: ModelConfig, where: str) -> None:
    """Refuse sizes that no model has, before they are multiplied or built.

    Raises:
        InputError: names the field; the message begins with ``where``.
    """
    sizes = (("grid", model.grid.size, GRID_SIZE), ("detector", model.detector.size, DETECTOR_SIZE))
    for name, value, most in sizes:
        if not 1 < value <= most:
            raise InputError(f"{where}.{name}.size: expected 2 to {most}, found {value}")
    check_plausible("cube_mm", model.grid.cube_mm, f"{where}.grid.spacing_mm", "the edge of the cube")
    check_plausible("cube_mm", model.detector.field_mm, f"{where}.detector.field_mm", "the width of the detector")
    for section in ("autoencoder", "condition", "denoiser"):
        _check_network(vars(getattr(model, section)), f"{where}.{section}")
    factor = model.autoencoder.factor
    if factor < 1 or model.grid.size % factor:
        raise InputError(f"{where}.autoencoder: reduces by {factor:g}, which does not divide {model.grid.size} voxels")


def _check_network(fields: dict[str, Any], where: str) -> None:
    """Refuse a network of more layers or channels than any has."""
    for name, value in fields.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if len(numbers) > LAYERS:
            raise InputError(f"{where}.{name}: expected at most {LAYERS} of them, found {len(numbers)}")
        least, most = (0, LAYERS) if name.endswith("blocks") else (1, CHANNELS)
        for each in numbers:
            if type(each) is int and not least <= each <= most:
                raise InputError(f"{where}.{name}: expected {least} to {most}, found {each}")


def write_bundle(
    folder: Path, manifest: Manifest, weights: dict[str, Tensor], card: str, figures: dict[str, Any]
) -> Bundle:
    """Write a bundle folder and open it again, which verifies it.

    Raises:
        InputError: it cannot be written.
    """
    contents = {WEIGHTS: save(encode_weights(weights, manifest.encoding)), CARD: card.encode("utf-8")}
    return _written(folder, manifest, contents, figures)


def write_calibrated(folder: Path, bundle: Bundle, calibration: dict[str, Any]) -> Bundle:
    """The same bundle with a table of its errors, in place of the one that it may have had.

    Args:
        folder: to write; may be the bundle's own.
        bundle: the model.
        calibration: JSON types, see ``clsdm.quality.intervals.Calibration``.

    Raises:
        InputError: it cannot be written.
    """
    contents = {name: bundle.read(name) for name in bundle.files}
    contents[CALIBRATION] = (json.dumps(calibration, allow_nan=False) + "\n").encode("utf-8")
    return _written(folder, replace(bundle.manifest, schema=SCHEMA), contents, bundle.figures)


def _written(folder: Path, manifest: Manifest, contents: dict[str, bytes], figures: dict[str, Any]) -> Bundle:
    files = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}
    table = to_plain(manifest) | {"files": files, "figures": figures}
    contents[MANIFEST] = (json.dumps(sealed(table), indent=1) + "\n").encode("utf-8")
    refuse_replacing((folder / name for name in contents), lambda file: file.name in _of_a_bundle(folder))
    with written_together(folder) as scratch:
        for name, data in contents.items():
            (scratch / name).write_bytes(data)
        Bundle.open(scratch)
    return Bundle.open(folder)


def _of_a_bundle(folder: Path) -> set[str]:
    """The names of the files of the bundle in a folder; empty where none is there."""
    try:
        return {MANIFEST, *read_manifest(folder, reader(folder))[1]}
    except InputError:
        return set()


def encode_weights(weights: dict[str, Tensor], encoding: Encoding) -> dict[str, Tensor]:
    """Weights as they are stored.

    ``int8`` quantises matrices and kernels symmetrically with one scale per output channel (a relative error of about
    1 %, a tenth of what two X-rays leave open). Vectors stay in float32: they are few, and the power of errors at the lowest
    frequency is more than float16 holds where voxels are many.
    """
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if encoding != "int8" or value.ndim < 2:
            stored[name] = value.to(getattr(torch, "float32" if value.ndim < 2 else encoding)).contiguous()
            continue
        scale = value.flatten(1).abs().amax(1).clamp_min(1e-12) / 127.0
        stored[name] = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8).contiguous()
        stored[f"{name}.scale"] = scale.float()
    return stored


def decode_weights(stored: dict[str, Tensor], where: str = WEIGHTS) -> dict[str, Tensor]:
    """The inverse of :func:`encode_weights`, in float32.

    Raises:
        InputError: scales do not fit, or all are more than any model has; the message begins with ``where``.
    """
    check_bytes(4 * sum(value.numel() for value in stored.values()), WEIGHTS_BYTES, where, "weights in float32")
    weights = {}
    for name, value in stored.items():
        scale = stored.get(f"{name}.scale")
        if scale is not None:
            if value.ndim < 1 or tuple(scale.shape) != (len(value),):
                found = f"{tuple(scale.shape)} for {tuple(value.shape)}"
                raise InputError(f"{where}: the scales of its int8 weights do not fit ({name}: {found})")
            value = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        if not name.endswith(".scale"):
            weights[name] = value.float()
    return weights
