"""Where a patient's CT lies in a reconstruction from X-rays of another day: rigid registration with SimpleITK.

The reconstruction stays as it is; the scan is moved to it by giving its grid another place, so that no voxel of it is
interpolated. Positions are LPS in mm.
"""

from dataclasses import dataclass, replace

import numpy as np
import SimpleITK as sitk  # noqa: N813 - the usual name

from clsdm.errors import InputError
from clsdm.volume.body import body_centre_mm, body_mask
from clsdm.volume.ct import CTVolume, point

REGISTERED_HU = (-1000.0, 500.0)
"""The range that counts in the comparison; denser bone is thin and would lead it astray."""
HEIGHTS_MM = (-90.0, -45.0, 0.0, 45.0, 90.0)
"""Along the patient, from middle on middle: where the search begins. Nobody knows at which height a radiograph was centred."""
COARSE_MM, SAMPLED, SEED = 6.0, 0.25, 1


@dataclass(frozen=True)
class Registered:
    """A scan where it lies in a reconstruction.

    Attributes:
        scan: moved.
        turned_deg: by how much.
        moved_mm: (x, y, z) that its middle moved, from middle on middle.
        correlation: of the two, over the voxels that were looked at.
    """

    scan: CTVolume
    turned_deg: float
    moved_mm: tuple[float, float, float]
    correlation: float


def register(recon: CTVolume, scan: CTVolume) -> Registered:
    """Move a scan rigidly onto a reconstruction.

    Raises:
        InputError: nothing of a body in the reconstruction, or no overlap.
    """
    fixed, moving = _limited(recon), _limited(scan)
    mask = sitk.Cast(sitk.GetImageFromArray(body_mask(recon.hu).astype(np.uint8)), sitk.sitkUInt8)
    mask.CopyInformation(recon.to_sitk())
    if not np.any(sitk.GetArrayViewFromImage(mask)):
        raise InputError(f"{recon.source}: nothing of a body in the reconstruction; cannot be registered")
    mask = sitk.BinaryDilate(mask, (3, 3, 3))
    middle = np.array(body_centre_mm(recon))
    start = np.array(body_centre_mm(scan)) - middle
    tries = [_aligned(fixed, moving, mask, middle, start + np.array([0.0, 0.0, height])) for height in HEIGHTS_MM]
    found = [each for each in tries if each is not None]
    if not found:
        raise InputError(f"{recon.source}: does not overlap {scan.source} at any height; cannot be registered")
    value, transform = min(found, key=lambda each: each[0])
    return _moved(scan, transform, middle, start, -value)


def _limited(ct: CTVolume) -> sitk.Image:
    """The volume in a window, coarse enough for the search."""
    image = sitk.Clamp(ct.to_sitk(), sitk.sitkFloat32, *REGISTERED_HU)
    shrink = [max(1, round(COARSE_MM / step)) for step in ct.spacing_mm]
    return sitk.BinShrink(image, shrink)


def _aligned(
    fixed: sitk.Image, moving: sitk.Image, mask: sitk.Image, middle: np.ndarray, shift: np.ndarray
) -> tuple[float, sitk.Euler3DTransform] | None:
    """The metric (minus the correlation) and the transform from ``fixed`` to ``moving``; None without overlap."""
    transform = sitk.Euler3DTransform()
    transform.SetCenter(middle.tolist())
    transform.SetTranslation(shift.tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetMetricFixedMask(mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(SAMPLED, SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(4.0, 0.02, 150, gradientMagnitudeTolerance=1e-6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError:  # too few samples within the scan
        return None
    value = float(method.GetMetricValue())
    return (value, transform) if np.isfinite(value) else None


def _moved(
    scan: CTVolume, transform: sitk.Euler3DTransform, middle: np.ndarray, start: np.ndarray, correlation: float
) -> Registered:
    """The scan's grid through the inverse of ``transform``."""
    back = transform.GetInverse()
    turn = np.array(transform.GetMatrix()).reshape(3, 3).T
    moved = replace(
        scan, origin_mm=point(np.array(back.TransformPoint(scan.origin_mm))), direction=turn @ scan.direction
    )
    turned = float(np.degrees(np.arccos(np.clip((np.trace(turn) - 1.0) / 2.0, -1.0, 1.0))))
    shift = np.array(transform.TransformPoint(middle.tolist())) - middle - start
    return Registered(moved, turned, point(-shift), correlation)
