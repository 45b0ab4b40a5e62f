"""From X-rays to a CT volume. This is the page to read first.

X-rays are put on the virtual detector (``xray``), and aligned with the CT by their real geometry (``model.condition``):
that gives the posterior mean in voxels, and what the X-rays say in the CT's latent space. There the mean is completed by
sampling (``model.sampler``) or not, and decoded to HU (``model.autoencoder``).

Three products, always named: ``mean`` is the posterior mean, closest to the truth on average and smooth where
two views cannot decide; ``sample`` is one realistic volume among many; ``ensemble`` is the mean of K samples with their
standard deviation. With each comes the ray coverage (voxels that no ray crossed are unknown however small the spread)
and the reprojection residual, the only check there is without a CT. Ground truth is not an argument.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from clsdm import NOTICE, __version__
from clsdm.errors import InputError
from clsdm.geometry.cameras import Cameras, voxel_axis
from clsdm.geometry.lift import coverage, lift_positions
from clsdm.geometry.view import MAX_VIEWS
from clsdm.hanging import looked_for
from clsdm.model.bundle import CALIBRATION, Bundle
from clsdm.model.clsdm import CLSDM
from clsdm.model.consistency import consistent
from clsdm.options import PRODUCTS, Options, Product, choose_device
from clsdm.progress import Report, silent
from clsdm.quality.agreement import WAYS_OUT
from clsdm.quality.intervals import Calibration, calibration_from
from clsdm.quality.measure import Measures
from clsdm.quality.numbers import numbers
from clsdm.quality.reprojection import reprojection
from clsdm.quality.result import check_result
from clsdm.quality.spread import told_of
from clsdm.quality.usual import Usual, doubts, shown_by, usual_from
from clsdm.refine import refine
from clsdm.result import Reconstruction
from clsdm.samples import draw
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import hu_clamped, unit_to_hu
from clsdm.xray.notes import gathered
from clsdm.xray.pair import check_together
from clsdm.xray.preprocess import XRay, prepare

__all__ = ["PRODUCTS", "Options", "Product", "Reconstruction", "choose_device", "networks_first", "reconstruct"]


def reconstruct(
    xrays: Sequence[XRay],
    bundle: Bundle,
    options: Options | None = None,
    report: Report = silent,
    model: CLSDM | None = None,
) -> Reconstruction:
    """Reconstruct a CT volume from one to eight X-rays of one patient.

    The same X-rays, bundle, options and device give the same bits.

    Args:
        xrays: in any order.
        bundle: the trained model.
        options: product, steps, seed, device.
        report: progress; may raise ``Cancelled``.
        model: the bundle's networks where they are loaded already (``bundle.model(device)``).

    Raises:
        InputError: too many or too few X-rays, of two patients or isocentres, an unusable image or device, or a result
            that is no CT.
    """
    return networks_first(xrays, bundle, options, report, model)()


@torch.inference_mode()
def networks_first(
    xrays: Sequence[XRay],
    bundle: Bundle,
    options: Options | None = None,
    report: Report = silent,
    model: CLSDM | None = None,
) -> Callable[[], Reconstruction]:
    """:func:`reconstruct` in two parts, for whoever has the networks work on the next patient meanwhile.

    Args:
        xrays: in any order.
        bundle: the trained model.
        options: product, steps, seed, device.
        report: progress of both parts.
        model: the bundle's networks where they are loaded already.

    Returns:
        What looks at the volume and gives the reconstruction, in any thread; most of it is one core's work.

    Raises:
        InputError: likewise.
    """
    options = options or Options()
    warnings = check_xrays(xrays, bundle)
    process = bundle.manifest.model.process
    if process.kind == "ddpm" and (options.steps or 1) > process.train_steps:
        raise InputError(
            f"steps: expected at most the model's {process.train_steps}, got {options.steps}", field="options"
        )
    device = choose_device(options.device)
    if model is None:
        report("load model", 0, 1)
        model = bundle.model(device)
        report("load model", 1, 1)
    if options.refine:
        found = refine(xrays, bundle, model, report)
        xrays, warnings = found.xrays, (*found.notes, *warnings)
    images, cameras = prepare(xrays, model.config.detector, device)
    values: list[dict[str, float]] = []
    if options.product == "mean":
        hu, spread = unit_to_hu(model.condition(images, cameras)[0])[0, 0], None
        report("align X-rays", 1, 1)
    else:
        condition = model.align(images, cameras)
        report("align X-rays", 1, 1)
        hu, spread, values = draw(model, condition, options, report)
    if options.consistency:
        spacing_mm = model.config.grid.spacing_mm
        hu = hu_clamped(consistent(hu[None, None], model.error_map_hu(), images, cameras, spacing_mm)[0, 0])
        report("follow X-rays", 1, 1)
    cubes = hu, spread, ray_coverage(images, cameras, model)
    check_result(hu.cpu().numpy(), None if spread is None else spread.cpu().numpy(), cubes[2].cpu().numpy())

    @torch.inference_mode()
    def look() -> Reconstruction:
        made = _placed(xrays, bundle, options, device, cubes, warnings)
        return _looked_at(made, xrays, bundle, model, options, values, report)

    return look


def _looked_at(
    made: Reconstruction,
    xrays: Sequence[XRay],
    bundle: Bundle,
    model: CLSDM,
    options: Options,
    values: Sequence[Mapping[str, float]],
    report: Report,
) -> Reconstruction:
    """With how the X-rays hang, and if wanted with what can be measured (``values``: in an ensemble's samples) and is unusual."""
    known, usual = calibrated(bundle)
    hung = looked_for(xrays, [each.agreement for each in made.residuals], bundle, model, usual, report)
    notes = () if hung is None else hung.notes(xrays)
    rest, seen = made.warnings, _only_seen(bundle)
    made = replace(made, hanging=hung, warnings=(*notes, *rest, *seen))
    if not options.measure:
        return made
    measures = numbers(made.volume, options.product, known, values)
    if known is not None and made.spread is not None and (factors := known.voxels.get(measures["region"])):
        measures["voxels"] = told_of(made.volume.hu, made.spread.hu, factors)
    if usual is not None:
        shown = shown_by(xrays, made.residuals, Measures.from_plain(measures), model.config.detector)
        unusual = doubts(shown, usual)
        measures["doubts"] = [*notes, *unusual]
        is_usual = not unusual and hung is None  # then what the model has seen goes without saying
        made = replace(made, warnings=(*notes, *unusual, *rest, *(() if is_usual else seen)))
    report("measure", 1, 1)
    return replace(made, measures=measures)


def calibrated(bundle: Bundle) -> tuple[Calibration | None, Usual | None]:
    """Tables of a bundle: of its errors, and of X-rays that are usual; None where it has no table, or none of these.

    Raises:
        InputError: the table cannot be used.
    """
    table, where = bundle.calibration, f"{bundle.path}/{CALIBRATION}"
    if table is None:
        return None, None
    known = calibration_from(table, bundle.hash, where)
    return known, usual_from(known.usual, where)


def check_xrays(xrays: Sequence[XRay], bundle: Bundle) -> tuple[str, ...]:
    """Warnings about a set of X-rays.

    Raises:
        InputError: they cannot be reconstructed together.
    """
    if not 1 <= len(xrays) <= MAX_VIEWS:
        raise InputError(f"X-rays: expected 1 to {MAX_VIEWS}, got {len(xrays)}")
    for xray in xrays:
        _check_source(xray, bundle.manifest.model.grid.cube_mm)
    notes = [(xray.source, text) for xray in xrays for text in xray.warnings]
    warnings = [*check_together(xrays), *gathered(notes, len(xrays))]
    if len(xrays) == 1:
        warnings.append("only one view: depth along its rays is a guess from other patients")
    return tuple(warnings)


def _only_seen(bundle: Bundle) -> tuple[str, ...]:
    """The remark on what the model was trained on; empty where nobody says it."""
    anatomy = bundle.manifest.trained_anatomy
    return (f"the model {bundle.manifest.id} has only seen: {anatomy}",) if anatomy else ()


def _check_source(xray: XRay, cube_mm: float) -> None:
    """Refuse a source that stands in the cube.

    Raises:
        InputError: names the distance.
    """
    reach_mm, distance_mm = cube_mm / math.sqrt(2.0), xray.view.source_axis_mm
    if distance_mm <= reach_mm:
        raise InputError(
            f"{xray.source}: the X-ray source stands {distance_mm:g} mm from the patient's middle; expected more than "
            f"{reach_mm:.0f} mm, outside the cube that is reconstructed; in mm?"
        )


def ray_coverage(images: Tensor, cameras: Cameras, model: CLSDM) -> Tensor:
    """(n, n, n) number of views that measured a ray through each voxel's centre."""
    grid = model.config.grid
    where = lift_positions(cameras, voxel_axis(grid.size, grid.spacing_mm, images.device))
    return coverage(images[:, :, 1], where)[0].sum(0)


def _placed(
    xrays: Sequence[XRay],
    bundle: Bundle,
    options: Options,
    device: torch.device,
    cubes: tuple[Tensor, Tensor | None, Tensor],
    warnings: tuple[str, ...],
) -> Reconstruction:
    """The cubes (HU, spread, coverage) in the patient's coordinates, checked against the X-rays."""
    manifest = bundle.manifest
    told = next((xray.isocentre_mm for xray in xrays if xray.isocentre_mm is not None), None)
    centre = told or (0.0, 0.0, 0.0)

    def placed(cube: Tensor) -> CTVolume:
        return CTVolume.on_grid(cube.cpu().numpy(), manifest.model.grid, centre)

    volume, spread, covered = placed(cubes[0]), None if cubes[1] is None else placed(cubes[1]), placed(cubes[2])
    residuals = tuple(reprojection(volume, xrays))
    provenance = {
        "notice": NOTICE,
        "software": f"clsdm {__version__}",
        "model": manifest.id,
        "model_version": manifest.version,
        "model_sha256": bundle.hash,
        **options.recorded,
        "steps": None if options.product == "mean" else options.steps or manifest.model.process.steps,
        "device": device.type,
        "isocentre_lps_mm": told and list(told),
        "views": [xray.view.to_plain() | {"origins": xray.origins} for xray in xrays],
    }
    doubts = [f"{each.source}: {each.agreement}" for each in residuals if each.agreement.disagrees]
    doubts += [WAYS_OUT] if doubts else []
    views = tuple(xray.view for xray in xrays)
    return Reconstruction(volume, covered, spread, residuals, (*doubts, *warnings), provenance, views)
