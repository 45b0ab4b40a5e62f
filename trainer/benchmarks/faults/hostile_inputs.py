"""Everything the programs read, whole and damaged: films, scans, bundles, requests, worker lines, stores, checkpoints and
recipes. ``Inputs(folder).make(kind, number, where)`` puts damaged input number ``number`` of a kind into ``where``: the
same one each time.
"""

import contextlib
import gzip
import io
import json
import shutil
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813 - the usual name
import yaml
from mutations import (
    Damaged,
    Random,
    damage_bytes,
    damage_jpeg,
    damage_json,
    damage_json_text,
    damage_nifti,
    damage_png,
    damage_tags,
    damage_text_header,
)
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit, RLELossless

# The small model, store and phantoms of the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

from ct_series import write_series
from small_bundle import CENTRE_MM, small_bundle, small_phantom, small_xrays
from tiny import SPLIT_OF, tiny_config, tiny_store

from clsdm.simulate import write_dx
from clsdm.volume.ct import CTVolume
from clsdm.volume.read import read_ct

KINDS = ("film", "scan", "bundle", "request", "line", "store", "checkpoint", "recipe")
SHARE = {"film": 30, "scan": 20, "bundle": 12, "request": 10, "line": 10, "store": 8, "checkpoint": 6, "recipe": 4}
"""Of a hundred damaged inputs, how many are of each kind."""


@dataclass(frozen=True)
class Hostile:
    """A damaged input.

    Attributes:
        path: what is handed in.
        base: the undamaged one it was made of.
        how: what was done to it.
        contradicts: it must be refused, or give the same content, where the file itself can tell (``well_formed``).
        impossible: it must be refused, or give the same content.
    """

    path: Path
    base: Path
    how: str
    contradicts: bool
    impossible: bool = False


def put(base: Path, damaged: Damaged, where: Path) -> Hostile:
    """The damaged content under the name of the undamaged file."""
    path = where / base.name
    path.write_bytes(damaged.data)
    return Hostile(path, base, f"{base.name}: {damaged.how}", damaged.contradicts, damaged.impossible)


class Inputs:
    """Undamaged inputs of all kinds in a folder, and damaged ones made of them."""

    def __init__(self, folder: Path) -> None:
        """Write the undamaged ones; takes seconds."""
        self.folder = folder
        self.bundle = folder / "bundles" / "folder"
        small_bundle(self.bundle)
        with zipfile.ZipFile(folder / "bundles" / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(self.bundle.iterdir()):
                archive.write(file, file.name)
        ct = small_phantom(CENTRE_MM)
        (folder / "films").mkdir()
        write_films(ct, folder / "films")
        write_scans(ct, folder / "scans")
        tiny_store(folder / "store")
        self.recipe = folder / "recipe.yaml"
        config = tiny_config(steps=2)
        self.recipe.write_text(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        from clsdm_trainer.cli import main

        given = ["--preset", self.recipe, "--store", folder / "store", "--run", folder / "run", "--device", "cpu"]
        with contextlib.redirect_stdout(io.StringIO()):
            main(["autoencoder", *map(str, given)])

    def make(self, kind: str, number: int, where: Path) -> Hostile:
        """Damaged input ``number`` of a kind, in the empty folder ``where``."""
        random = np.random.default_rng([KINDS.index(kind), number])
        return getattr(self, f"_{kind}")(random, where)

    def _film(self, random: Random, where: Path) -> Hostile:
        base = _one_of(self.folder / "films", random)
        return put(base, damage_image(base, random), where)

    def _scan(self, random: Random, where: Path) -> Hostile:
        base = _one_of(self.folder / "scans", random)
        if base.is_file():
            return put(base, damage_image(base, random), where)
        path = where / base.name
        shutil.copytree(base, path)
        return _in_folder(base, path, damage_image, random)

    def _bundle(self, random: Random, where: Path) -> Hostile:
        base = _one_of(self.folder / "bundles", random)
        if base.is_file():
            damaged = damage_bytes(base.read_bytes(), random)
            return put(base, Damaged(damaged.data, damaged.how, contradicts=True), where)
        path = where / base.name
        shutil.copytree(base, path)
        hostile = _in_folder(base, path, damage_manifest_or_weights, random)
        return Hostile(path, base, hostile.how, contradicts=True)

    def _request(self, random: Random, where: Path) -> Hostile:
        table = self.request(where)
        damage = damage_json if random.random() < 0.8 else damage_json_text
        damaged = damage(table, random)  # a shorter one may be one too
        return put(self.folder / "request.json", Damaged(damaged.data, damaged.how), where)

    def request(self, where: Path) -> dict[str, Any]:
        """An undamaged request that writes into ``where``."""
        geometry = {"pixel_mm": [6.0, 6.0], "source_detector_mm": 1800.0, "source_axis_mm": 1600.0, "invert": None}
        view = {"file": str(self.folder / "films" / "raw.dcm"), "angle_deg": 0.0, "geometry": geometry}
        options = {"product": "sample", "steps": 2, "samples": 2, "seed": 0, "device": "cpu"}
        out = str(where / "out" / "r.nii.gz")
        return {"views": [view], "out": out, "bundle": str(self.bundle), "preset": "chest", "options": options}

    def _line(self, random: Random, where: Path) -> Hostile:
        table = self.request(where)
        del table["out"]
        more = {
            "reconstruct": table,
            "preview": {"view": table["views"][0], "bundle": str(self.bundle)},
            "bundle": {"bundle": str(self.bundle)},
            "compare": {"reconstruction": str(self.scan), "truth": str(self.scan)},
            "simulate": {"ct": str(self.scan), "out": str(where / "x"), "angles": [0.0]},
            "install": {"bundle": str(self.bundle), "into": str(where / "models"), "name": "m"},
        }
        kinds = ["reconstruct", *more, "hello", "nothing"]
        task = kinds[int(random.integers(len(kinds)))]
        line = {"id": 7, "task": task, **more.get(task, {})}
        damage = damage_json if random.random() < 0.75 else damage_json_text
        damaged = damage(line, random)
        return put(self.folder / "line.json", Damaged(damaged.data.replace(b"\n", b" "), damaged.how), where)

    @property
    def scan(self) -> Path:
        """An undamaged scan in one file."""
        return self.folder / "scans" / "scan.nii.gz"

    def _store(self, random: Random, where: Path) -> Hostile:
        base, path = self.folder / "store", where / "store"
        shutil.copytree(base, path)
        if random.random() < 0.2:
            return _wrong_volume(base, path, random)
        hostile = _in_folder(base, path, damage_manifest_or_weights, random)
        return Hostile(path, base, hostile.how, hostile.path.name in (*USED_VOLUMES, "manifest.json"))

    def _checkpoint(self, random: Random, where: Path) -> Hostile:
        base, path = self.folder / "run", where / "run"
        shutil.copytree(base, path)
        names = ["autoencoder/checkpoint.safetensors", "autoencoder/best.safetensors", "latents.safetensors"]
        file = path / names[int(random.integers(len(names)))]
        if random.random() < 0.1:
            file.unlink()
            return Hostile(path, base, f"{file.name} missing", contradicts=False)
        damaged = damage_bytes(file.read_bytes(), random)
        file.write_bytes(damaged.data)
        return Hostile(path, base, f"{file.name}: {damaged.how}", contradicts=True)

    def _recipe(self, random: Random, where: Path) -> Hostile:
        table = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
        if random.random() < 0.2:
            damaged = damage_bytes(self.recipe.read_bytes(), random)
            return put(self.recipe, Damaged(damaged.data, damaged.how), where)  # a shorter text may be a recipe too
        damaged = damage_json(table, random)  # JSON is YAML
        return put(self.recipe, damaged, where)


USED_VOLUMES = tuple(f"{name}.npy" for name, split in SPLIT_OF.items() if split != "test")
"""Of the store: what training reads."""
SEALED = (".nii.gz", ".png", "_packed.mha", "_packed.nrrd")
"""Formats that carry a checksum of their pixels."""


def _one_of(folder: Path, random: Random) -> Path:
    entries = sorted(folder.iterdir())
    return entries[int(random.integers(len(entries)))]


def _in_folder(base: Path, path: Path, damage: Callable[[Path, Random], Damaged], random: Random) -> Hostile:
    """One file of a folder damaged, missing, doubled, or something else in its place."""
    files = sorted(each for each in path.rglob("*") if each.is_file())
    heads = [each for each in files if each.suffix == ".json"]
    file = files[int(random.integers(len(files)))] if random.random() < 0.6 or not heads else heads[0]
    if random.random() < 0.1:
        file.unlink()
        return Hostile(file, base, f"{file.name} missing", contradicts=True)
    damaged = damage(file, random)
    file.write_bytes(damaged.data)
    return Hostile(
        file if damage is damage_manifest_or_weights else path,
        base,
        f"{file.name}: {damaged.how}",
        damaged.contradicts,
        damaged.impossible,
    )


def _wrong_volume(base: Path, path: Path, random: Random) -> Hostile:
    """A volume of zeros, a volume of another patient, or one with one voxel changed."""
    volumes = [path / "volumes" / name for name in USED_VOLUMES]
    file, other = (volumes[int(each)] for each in random.permutation(len(volumes))[:2])
    hu = np.load(file)
    kind = int(random.integers(3))
    if kind == 0:
        np.save(file, np.zeros_like(hu))
    elif kind == 1:
        shutil.copyfile(other, file)
    else:
        hu[tuple(random.integers(hu.shape[0], size=3))] += 1
        np.save(file, hu)
    return Hostile(path, base, f"{file.name}: {('zeros', f'is {other.name}', 'one voxel')[kind]}", contradicts=True)


def damage_image(path: Path, random: Random) -> Damaged:
    """An image or volume file, by what its name says it is."""
    data, name = path.read_bytes(), path.name
    if random.random() < 0.35:
        damaged = damage_bytes(data, random)
        return Damaged(damaged.data, damaged.how, damaged.contradicts or name.endswith(SEALED))
    if name.endswith(".dcm"):
        return damage_tags(data, random)
    if name.endswith(".nii"):
        return damage_nifti(data, random)
    if name.endswith(".nii.gz"):
        damaged = damage_nifti(gzip.decompress(data), random)
        return replace(damaged, data=gzip.compress(damaged.data))
    if name.endswith((".mha", ".nrrd")):
        return damage_text_header(data, random)
    if name.endswith(".png"):
        return damage_png(data, random)
    return damage_jpeg(data, random) if name.endswith(".jpg") else damage_bytes(data, random)


def damage_manifest_or_weights(path: Path, random: Random) -> Damaged:
    """A JSON file by its entries, any other by its bytes."""
    if path.suffix == ".json":
        damage = damage_json if random.random() < 0.8 else damage_json_text
        return damage(json.loads(path.read_text(encoding="utf-8")), random)
    return damage_bytes(path.read_bytes(), random)


def write_films(ct: CTVolume, folder: Path) -> None:
    """The frontal X-ray of a CT in the DICOM encodings and picture formats that need no further library."""
    (xray,) = small_xrays(ct, (0.0,), CENTRE_MM)
    write_dx(xray, folder / "raw.dcm")
    stored = pydicom.dcmread(folder / "raw.dcm")
    pixels = stored.pixel_array
    eight = ((pixels - pixels.min()) * (255.0 / np.ptp(pixels))).astype(np.uint8)
    for name, syntax in (("implicit", ImplicitVRLittleEndian), ("deflated", DeflatedExplicitVRLittleEndian)):
        other = pydicom.dcmread(folder / "raw.dcm")
        other.file_meta.TransferSyntaxUID = syntax
        other.save_as(folder / f"{name}.dcm", enforce_file_format=True)
    stored.compress(RLELossless)
    stored.save_as(folder / "rle.dcm", enforce_file_format=True)
    write_baseline(folder / "raw.dcm", eight, folder / "jpeg.dcm")
    wide = pixels.astype(np.uint16)
    Image.fromarray(eight).save(folder / "8.png")
    Image.fromarray(eight).save(folder / "8.jpg", quality=95)
    Image.fromarray(eight).save(folder / "8.tif")
    Image.fromarray(eight).save(folder / "8.bmp")
    image = sitk.GetImageFromArray(wide)
    image.SetSpacing((6.0, 6.0))
    for name in ("16.png", "16.tif", "16.nii", "16.nii.gz", "16.mha", "16.nrrd"):
        sitk.WriteImage(image, str(folder / name), useCompression=False)
    for name in ("16_packed.mha", "16_packed.nrrd"):
        sitk.WriteImage(image, str(folder / name), useCompression=True)


def write_baseline(raw: Path, eight: np.ndarray, path: Path) -> None:
    """A DICOM file whose pixels are one baseline JPEG."""
    file = io.BytesIO()
    Image.fromarray(eight).save(file, "JPEG", quality=95)
    dataset = pydicom.dcmread(raw)
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)


def write_scans(ct: CTVolume, folder: Path) -> None:
    """A CT as NIfTI, MetaImage and NRRD, packed and not, and as a DICOM series."""
    folder.mkdir()
    image = sitk.Cast(ct.to_sitk(), sitk.sitkInt16)
    for name in ("scan.nii", "scan.nii.gz", "scan.mha", "scan.nrrd"):
        sitk.WriteImage(image, str(folder / name), useCompression=name.endswith(".gz"))
    for name in ("scan_packed.mha", "scan_packed.nrrd"):
        sitk.WriteImage(image, str(folder / name), useCompression=True)
    write_series(folder / "series", read_ct(folder / "scan.nii.gz"))
