"""A trained model as files: ``bundle.json``, ``model.safetensors`` and a model card, in a folder or a zip archive.

The manifest holds the networks' configuration, the HU window, what geometry the model was trained for, its licence and
figures, and the SHA-256 of every other file. Nothing in a bundle is ever executed: no pickle, no code, no path outside.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from clsdm.errors import InputError
from clsdm.files import written_together
from clsdm.intensity import WINDOW_HU
from clsdm.model import CLSDM, ModelConfig
from clsdm.structure import from_plain, to_plain

SCHEMA = 1
MANIFEST, WEIGHTS, CARD = "bundle.json", "model.safetensors", "MODEL_CARD.md"
MAX_FILE_BYTES = 4 * 1024**3
MAX_GRID, MAX_DETECTOR = 512, 4096
NOTICE = "Research only. Not a medical device; not for diagnosis or treatment."

Encoding = Literal["float32", "float16", "int8"]


def patient_mark(patient: str) -> str:
    """One-way mark of a (de-identified) patient id."""
    return hashlib.sha256(f"clsdm-patient:{patient}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class FileEntry:
    """One file of a bundle."""

    sha256: str
    bytes: int


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
    def open(cls, path: str | os.PathLike[str]) -> Bundle:
        """Open a bundle and check its manifest and every hash.

        Raises:
            InputError: missing, damaged, of an unknown version, or with a file that is missing, altered or outside.
        """
        path = Path(path)
        read = _reader(path)
        manifest_name = f"{path}/{MANIFEST}"
        try:
            table = json.loads(read(MANIFEST).decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{manifest_name}: not JSON ({error})") from None
        if not isinstance(table, dict) or table.get("schema") != SCHEMA:
            found = table.get("schema") if isinstance(table, dict) else table
            raise InputError(f"{manifest_name}: schema version {found!r} is unknown; this program reads {SCHEMA}")
        files = {
            _inside(name, manifest_name): from_plain(FileEntry, entry, f"{manifest_name}: files.{name}")
            for name, entry in _table(table.pop("files", None), f"{manifest_name}: files").items()
        }
        figures = _table(table.pop("figures", {}), f"{manifest_name}: figures")
        manifest = from_plain(Manifest, table, manifest_name)
        if manifest.window_hu != WINDOW_HU:
            raise InputError(f"{manifest_name}: window_hu is {manifest.window_hu}, this program works with {WINDOW_HU}")
        _check_sizes(manifest.model, f"{manifest_name}: model")
        bundle = cls(path, manifest, files, figures, read)
        bundle.verify()
        return bundle

    def verify(self) -> None:
        """Check every file's size and SHA-256.

        Raises:
            InputError: a file is missing or altered.
        """
        if WEIGHTS not in self.files:
            raise InputError(f"{self.path}/{MANIFEST}: files: {WEIGHTS} is missing")
        for name, entry in self.files.items():
            data = self.read(name)
            if len(data) != entry.bytes:
                raise InputError(f"{self.path}/{name}: has {len(data)} bytes, the manifest says {entry.bytes}")
            found = hashlib.sha256(data).hexdigest()
            if found != entry.sha256:
                raise InputError(f"{self.path}/{name}: SHA-256 is {found}, the manifest says {entry.sha256}")

    @property
    def hash(self) -> str:
        """SHA-256 of the weights: what identifies this model in a result's provenance."""
        return self.files[WEIGHTS].sha256

    def model(self, device: torch.device | str = "cpu") -> CLSDM:
        """The networks with their weights, ready to run.

        Raises:
            InputError: the weights do not fit the configuration.
        """
        where = f"{self.path}/{WEIGHTS}"
        try:
            weights = decode_weights(load(self.read(WEIGHTS)))
        except SafetensorError as error:
            raise InputError(f"{where}: not safetensors ({error})") from None
        except RuntimeError as error:
            raise InputError(f"{where}: the scales of its int8 weights do not fit ({_last_line(error)})") from None
        bad = next((name for name, value in weights.items() if not bool(value.isfinite().all())), None)
        if bad is not None:
            raise InputError(f"{where}: {bad} holds NaN or infinite values")
        try:
            model = CLSDM(self.manifest.model)
        except (ValueError, IndexError, ZeroDivisionError, RuntimeError) as error:
            raise InputError(f"{self.path}/{MANIFEST}: model: cannot be built ({_last_line(error)})") from None
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            raise InputError(f"{where}: does not fit its configuration ({_last_line(error)})") from None
        return model.to(device).eval().requires_grad_(False)


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _check_sizes(model: ModelConfig, where: str) -> None:
    """Refuse sizes that no model has, before they are multiplied."""
    for name, value, most in (("grid", model.grid.size, MAX_GRID), ("detector", model.detector.size, MAX_DETECTOR)):
        if not 1 < value <= most:
            raise InputError(f"{where}.{name}.size: expected 2 to {most}, found {value}")
    for name, mm in (("grid.spacing_mm", model.grid.spacing_mm), ("detector.field_mm", model.detector.field_mm)):
        if mm <= 0.0:
            raise InputError(f"{where}.{name}: expected a positive length, found {mm:g}")
    factor = model.autoencoder.factor
    if factor < 1 or model.grid.size % factor:
        raise InputError(f"{where}.autoencoder: reduces by {factor:g}, which does not divide {model.grid.size} voxels")
    if model.process.steps < 1:
        raise InputError(f"{where}.process.steps: expected at least 1, found {model.process.steps}")


def _table(value: Any, where: str) -> dict[str, Any]:  # noqa: ANN401 - untrusted JSON
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object, found {value!r}")
    return value


def _inside(name: str, where: str) -> str:
    """A plain relative file name, or an error."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or "\\" in name or ":" in name or ".." in parts:
        raise InputError(f"{where}: files: {name!r} lies outside the bundle")
    return name


def _reader(path: Path) -> Callable[[str], bytes]:
    """A function that reads one file of a folder or archive."""
    if path.is_dir():
        return lambda name: _read_from_folder(path, name)
    if not path.exists():
        raise InputError(f"{path}: no such bundle (expected a folder or zip archive with {MANIFEST})")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a bundle; expected a folder or zip archive with {MANIFEST}")
    return lambda name: _read_from_zip(path, name)


def _read_from_folder(folder: Path, name: str) -> bytes:
    file = folder / name
    if folder.resolve() not in file.resolve().parents:
        raise InputError(f"{file}: a link to outside the bundle")
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); the bundle is incomplete") from None


def _read_from_zip(path: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(name).file_size > MAX_FILE_BYTES:
                raise InputError(f"{path}: {name} is larger than {MAX_FILE_BYTES} bytes")
            return archive.read(name)
    except KeyError:
        raise InputError(f"{path}: holds no {name}; the bundle is incomplete") from None
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:  # RuntimeError: encrypted
        raise InputError(f"{path}: {name} cannot be read ({error})") from None


def write_bundle(
    folder: Path, manifest: Manifest, weights: dict[str, Tensor], card: str, figures: dict[str, Any]
) -> Bundle:
    """Write a bundle folder and open it again, which verifies it.

    Raises:
        InputError: it cannot be written.
    """
    contents = {WEIGHTS: save(encode_weights(weights, manifest.encoding)), CARD: card.encode("utf-8")}
    files = {name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for name, data in contents.items()}
    table = to_plain(manifest) | {"files": files, "figures": figures}
    contents[MANIFEST] = (json.dumps(table, indent=1) + "\n").encode("utf-8")
    with written_together(folder) as scratch:
        for name, data in contents.items():
            (scratch / name).write_bytes(data)
        Bundle.open(scratch)
    return Bundle.open(folder)


def encode_weights(weights: dict[str, Tensor], encoding: Encoding) -> dict[str, Tensor]:
    """Weights as they are stored.

    ``int8`` quantises matrices and kernels symmetrically with one scale per output channel (a relative error of about
    1 %, a tenth of what two X-rays leave open); vectors stay in float32.
    """
    if encoding != "int8":
        return {name: value.to(getattr(torch, encoding)).contiguous() for name, value in weights.items()}
    stored: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.ndim < 2:
            stored[name] = value.float().contiguous()
            continue
        scale = value.flatten(1).abs().amax(1).clamp_min(1e-12) / 127.0
        stored[name] = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8).contiguous()
        stored[f"{name}.scale"] = scale.float()
    return stored


def decode_weights(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of :func:`encode_weights`, in float32."""
    weights = {}
    for name, value in stored.items():
        scale = stored.get(f"{name}.scale")
        if scale is not None:
            value = value.float() * scale.view(-1, *[1] * (value.ndim - 1))
        if not name.endswith(".scale"):
            weights[name] = value.float()
    return weights


def default_bundle_path() -> Path:
    """The bundle that comes with the project: ``Resources/Models`` of the source tree.

    Raises:
        InputError: it is not there (a wheel without the source tree).
    """
    for parent in Path(__file__).resolve().parents:
        found = sorted((parent / "Resources" / "Models").glob(f"*/{MANIFEST}"))
        if found:
            return found[0].parent
    raise InputError("no bundle is embedded in this installation; name one with --bundle")
