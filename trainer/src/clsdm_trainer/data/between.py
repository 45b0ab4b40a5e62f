"""Deformations of training patients to the shapes of others, for a region of which there are few.

A scan that is deformed halfway towards another patient is a patient nobody scanned: lungs, heart, diaphragm and outline
change together, as they do among people and as random deformations do not (learnt transformations as augmentation: Zhao
et al., CVPR 2019). Each deformation is found once, by registration, and lies in the store beside the scans; training
applies a random share of it.
"""

import os
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813 - its usual name
import torch
from rich.console import Console
from rich.progress import track

from clsdm.errors import InputError
from clsdm_trainer.augment import numpy_generator
from clsdm_trainer.checkpoint import load_state, save_state
from clsdm_trainer.data.manifest import Case
from clsdm_trainer.data.parallel import results
from clsdm_trainer.data.store import Store

FOLDER = "between"
SPACING_MM = 8.0
"""Of the scans that are registered."""
CONTROLS = 9
"""Control points of the cubic B-spline along each axis of the scan."""
AIR_HU = -1000.0
REGISTERED_HU = (AIR_HU, 300.0)
SHIFTS_MM = np.arange(-150.0, 151.0, 15.0)
"""Tried along z, so that organs lie side by side; the shift itself is left out, since poses shift patients anyway."""
LEAST_OVERLAP_MM = 150.0
LEAST_ALIKE = 0.45
"""Correlation of two scans as they are, below which they show other parts of the body."""
LEAST_MATCHED = 0.8
"""Correlation that a registration must reach."""
SHARES = (1.0, 0.85, 0.7, 0.55, 0.4)
"""Of a deformation; the largest that folds nowhere is kept."""
LEAST_VOLUME = 0.15
"""Of a voxel after the deformation, relative to before, but for ``FOLDED`` of them."""
FOLDED = 0.005


@dataclass(frozen=True)
class Task:
    """One patient to be deformed to ``wanted`` others, picklable for a worker process."""

    store: Store
    case: Case
    others: tuple[Case, ...]
    wanted: int


def scarce(store: Store) -> list[Case]:
    """Training scans that are drawn more than once in an epoch, those of a region that has few; all where none is."""
    cases = store.cases("train")
    return [case for case in cases if case.repeats > 1] or cases


def deform(store: Store, wanted: int = 6, workers: int | None = None) -> dict[str, int]:
    """Find deformations of the scarce training patients to the shapes of ``wanted`` others each, and store them.

    What an earlier call finished is kept.

    Returns:
        How many were found for each case id.

    Raises:
        InputError: there is nobody to be deformed to, a scan that cannot be read, or a store that cannot be written.
    """
    cases = scarce(store)
    if len({case.patient for case in cases}) < 2:
        raise InputError(f"{store.folder}: expected two patients or more to deform to each other, found {len(cases)}")
    tasks = []
    for number, case in enumerate(cases):
        if _found(store, case) is None:
            others = [each for each in cases if each.patient != case.patient]
            order = numpy_generator(number).permutation(len(others))[: 3 * wanted]
            tasks.append(Task(store, case, tuple(others[index] for index in order), wanted))
    console = Console(stderr=True)
    done = results(_deform_one, tasks, workers or min(8, os.cpu_count() or 1), _died) if tasks else iter(())
    for _ in track(done, "deformations", len(tasks), console=console, disable=not console.is_terminal):
        pass
    return {case.id: len(deformations(store, case)) for case in cases}


def deformations(store: Store, case: Case) -> np.ndarray:
    """(K, 3, c, c, c) displacements in mm (x, y, z; LPS) at the control points of a cubic B-spline over the case's scan.

    ``scan(x + displacement(x))`` has the shape of another patient; K is 0 for a case that is not scarce.

    Raises:
        InputError: not made yet, made of another scan, or damaged.
    """
    if case not in scarce(store):
        return np.zeros((0, 3, CONTROLS, CONTROLS, CONTROLS), np.float32)
    found = _found(store, case)
    if found is None:
        raise InputError(
            f"{store.folder}: augment.between_probability needs deformations between patients, and there are none of "
            f"{case.id!r}; make them with 'clsdm-train deform --store {store.folder}'"
        )
    return found


def _found(store: Store, case: Case) -> np.ndarray | None:
    path = store.folder / FOLDER / f"{case.id}.safetensors"
    if not path.is_file():
        return None
    try:
        state = load_state(path)
    except InputError as error:
        raise InputError(f"{error}; delete it, and call 'clsdm-train deform' again") from None
    if state.get("scan_sha256") != case.scan_sha256:
        return None
    return np.asarray(state["displacements_mm"].numpy(), np.float32)


def _deform_one(task: Task) -> None:
    moving, found, of = _image(task.store, task.case), [], []
    for other in task.others:
        displacements = between(moving, _image(task.store, other))
        if displacements is not None:
            found.append(displacements)
            of.append(other.id)
        if len(found) == task.wanted:
            break
    stacked = np.stack(found) if found else np.zeros((0, 3, CONTROLS, CONTROLS, CONTROLS))
    path = task.store.folder / FOLDER / f"{task.case.id}.safetensors"
    path.parent.mkdir(exist_ok=True)
    tensor = torch.from_numpy(stacked).half()
    save_state(path, {"scan_sha256": task.case.scan_sha256, "towards": of, "displacements_mm": tensor})


def _died(task: Task) -> None:
    raise InputError(f"{task.case.id}: the process registering it died; out of memory?")


def _image(store: Store, case: Case) -> sitk.Image:
    """The scan on voxels of about ``SPACING_MM``, LPS around the centre of the case's cube."""
    scan = store.scanned(case)
    image = sitk.GetImageFromArray(np.clip(scan.hu, *REGISTERED_HU))
    image.SetSpacing(scan.spacing_mm)
    image.SetOrigin(scan.origin_mm)
    return sitk.BinShrink(image, [max(1, round(SPACING_MM / scan.spacing_mm[0]))] * 3)


def between(moving: sitk.Image, other: sitk.Image) -> np.ndarray | None:
    """(3, c, c, c) displacements that give ``moving`` the shape of ``other``, or None where that cannot be had.

    Both in HU within ``REGISTERED_HU``. None: they show other parts of the body, or no unfolded deformation matches.
    """
    fixed, known = max((_beside(moving, other, shift) for shift in SHIFTS_MM), key=lambda pair: _alike(moving, *pair))
    if _alike(moving, fixed, known) < LEAST_ALIKE:
        return None
    transform = _registered(fixed, known, moving)
    if _alike(sitk.Resample(moving, transform, sitk.sitkLinear, AIR_HU), fixed, known) < LEAST_MATCHED:
        return None
    coefficients = np.array(transform.GetParameters())
    for share in SHARES:
        transform.SetParameters((share * coefficients).tolist())
        if _unfolded(transform, moving):
            return np.asarray(share * coefficients).reshape(3, CONTROLS, CONTROLS, CONTROLS)
    return None


def _beside(image: sitk.Image, other: sitk.Image, shift_mm: float) -> tuple[sitk.Image, sitk.Image]:
    """``other`` on the voxels of ``image``, shifted along z, and where it was scanned."""
    unscanned = 10.0 * AIR_HU
    moved = sitk.Resample(
        other, image, sitk.TranslationTransform(3, (0.0, 0.0, shift_mm)), sitk.sitkLinear, unscanned, sitk.sitkFloat32
    )
    return sitk.Clamp(moved, sitk.sitkFloat32, *REGISTERED_HU), sitk.Cast(moved > 0.5 * unscanned, sitk.sitkUInt8)


def _alike(image: sitk.Image, other: sitk.Image, known: sitk.Image) -> float:
    """Correlation where both are known; -1 where they have too little of the body in common."""
    where = sitk.GetArrayViewFromImage(known) > 0
    if where.any((1, 2)).sum() * image.GetSpacing()[2] < LEAST_OVERLAP_MM:
        return -1.0
    first, second = (sitk.GetArrayViewFromImage(each)[where] for each in (image, other))
    return float(np.corrcoef(first, second)[0, 1])


def _registered(fixed: sitk.Image, known: sitk.Image, moving: sitk.Image) -> sitk.BSplineTransform:
    """Cubic B-spline by mean squares on three scales (Rueckert et al. 1999)."""
    transform = sitk.BSplineTransform(3, 3)
    transform.SetTransformDomainOrigin(moving.GetOrigin())
    extent = (np.array(moving.GetSize()) - 1) * moving.GetSpacing()
    transform.SetTransformDomainPhysicalDimensions(extent.tolist())
    transform.SetTransformDomainMeshSize([CONTROLS - 3] * 3)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMeanSquares()
    method.SetMetricFixedMask(known)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(0.06, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsLBFGSB(numberOfIterations=25)
    method.SetShrinkFactorsPerLevel([3, 2, 1])
    method.SetSmoothingSigmasPerLevel([16.0, 8.0, 4.0])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(True)
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, sitk.Cast(moving, sitk.sitkFloat32))
    return transform


def _unfolded(transform: sitk.BSplineTransform, image: sitk.Image) -> bool:
    at = image.GetSize(), image.GetOrigin(), image.GetSpacing()
    field = sitk.TransformToDisplacementField(transform, sitk.sitkVectorFloat64, *at)
    volumes = sitk.GetArrayViewFromImage(sitk.DisplacementFieldJacobianDeterminant(field))
    return bool(np.quantile(volumes, FOLDED) > LEAST_VOLUME)
