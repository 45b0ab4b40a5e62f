"""The X-ray files of a scan under each condition, made as ``clsdm project`` makes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from clsdm.app.request import ViewRequest
from clsdm.files.atomic import written_together
from clsdm.geometry.view import Detector
from clsdm.simulate import project_to_folder, write_dx, write_preview
from clsdm.xray.image import XRay
from clsdm.xray.read import read_xray
from clsdm_trainer.augment import draw_exposures, numpy_generator, radiographs
from clsdm_trainer.config import AugmentConfig

PHOTONS = 2000.0
ANGLE_ERROR_DEG = 5.0
RADIOGRAPH_PIXELS = 144
"""About as many pixels along an edge as networks see; the extent of local contrast and scatter is in pixels."""

RADIOGRAPH = AugmentConfig(
    angle_jitter_deg=0.0,
    tilt_jitter_deg=0.0,
    distance_jitter=0.0,
    opposite_probability=0.0,
    drop_probability=0.0,
    radiograph_probability=1.0,
    effect_probability=0.4,
    gamma=0.35,
    noise=0.02,
    scatter=0.15,
    collimation=0.15,
    hardening=0.15,
    tone=0.6,
    local_contrast=0.8,
    sharpness=0.8,
    patches=3,
)
"""The changes by a machine and a viewer; fixed here, so that bundles trained with any recipe compare."""


@dataclass(frozen=True)
class Request:
    """A case to be exposed under :data:`CONDITIONS`.

    Attributes:
        scan: volume file or folder of DICOM slices.
        preset: machine.
        folder: of the case's X-rays; each kind of them in a folder of its own.
        seed: of noise and changes.
    """

    scan: Path
    preset: str
    folder: Path
    seed: int


@dataclass(frozen=True)
class Condition:
    """A way to take the X-rays.

    Attributes:
        text: for the reader.
        views: makes the files, unless they are there, and says how they are handed over.
        of_another: whether they are of the next case, so that they say nothing of this one.
    """

    text: str
    views: Callable[[Request], tuple[ViewRequest, ...]]
    of_another: bool = False


def plain(request: Request) -> tuple[ViewRequest, ...]:
    """Frontal and lateral, without noise."""
    return _handed(_projected(request, "plain", (0.0, 90.0)))


def frontal(request: Request) -> tuple[ViewRequest, ...]:
    """The frontal view of :func:`plain` alone."""
    return plain(request)[:1]


def noisy(request: Request) -> tuple[ViewRequest, ...]:
    """Both views with the noise of few photons."""
    return _handed(_projected(request, "photons", (0.0, 90.0), photons=PHOTONS))


def wrong_angle(request: Request) -> tuple[ViewRequest, ...]:
    """A lateral view that is a little oblique and handed over as an exact one."""
    (oblique,) = _projected(request, "wrong-angle", (90.0 + ANGLE_ERROR_DEG,))
    return plain(request)[0], ViewRequest(str(oblique), angle_deg=90.0)


def changed(request: Request) -> tuple[ViewRequest, ...]:
    """Both views as radiographs look: tone, local contrast, scatter, collimation, letters (:data:`RADIOGRAPH`)."""
    folder = request.folder / "radiograph"
    files = [folder / f"{name}.dcm" for name in ("frontal", "lateral")]
    if not all(file.exists() for file in files):
        xrays = [read_xray(view.file) for view in plain(request)]
        with written_together(folder) as scratch:
            for file, xray in zip(files, as_radiographs(xrays, request.preset, request.seed), strict=True):
                write_dx(xray, scratch / file.name)
                write_preview(xray, scratch / f"{file.stem}.png")
    return _handed(files)


def as_radiographs(xrays: Sequence[XRay], preset: str, seed: int) -> list[XRay]:
    """The frontal and the lateral projection of one patient, changed as :data:`RADIOGRAPH` says.

    Args:
        xrays: line integrals on square panels.
        preset: machine they were taken with.
        seed: of the changes.
    """
    random = numpy_generator(seed)
    drawn = draw_exposures(RADIOGRAPH.model_copy(update={"presets": {preset: 1.0}}), len(xrays), random)
    found = []
    for xray, exposure in zip(xrays, drawn, strict=True):
        view = xray.view
        detector = Detector(RADIOGRAPH_PIXELS, view.cols * view.pixel_mm[1] / view.magnification)
        integrals = torch.from_numpy(xray.image)[None, None]
        integrals = F.interpolate(integrals, (RADIOGRAPH_PIXELS,) * 2, mode="area")
        noise = torch.from_numpy(random.standard_normal(integrals.shape, dtype=np.float32))
        image, mask = radiographs(integrals, [[replace(exposure, view=view)]], detector, noise)[0, 0]
        found.append(replace(xray, image=image.numpy(), valid=mask.numpy() > 0.5, view=detector.view(view)))
    return found


def _projected(request: Request, kind: str, angles_deg: tuple[float, ...], photons: float | None = None) -> list[Path]:
    """The DICOM files of ``clsdm project``, made once."""
    folder = request.folder / kind
    files = sorted(folder.glob("*.dcm"))
    if len(files) == len(angles_deg):
        return files
    return sorted(
        project_to_folder(request.scan, request.preset, folder, angles_deg, photons=photons, seed=request.seed)
    )


def _handed(files: Sequence[Path]) -> tuple[ViewRequest, ...]:
    return tuple(ViewRequest(str(file)) for file in files)


CONDITIONS: dict[str, Condition] = {
    "plain": Condition("as they are", plain),
    "photons": Condition(f"{PHOTONS:.0f} photons a pixel", noisy),
    "radiograph": Condition("radiograph-like changes", changed),
    "frontal": Condition("frontal alone", frontal),
    "wrong-angle": Condition(f"lateral off by {ANGLE_ERROR_DEG:g}°", wrong_angle),
    "shuffled": Condition("of the next case", plain, of_another=True),
}
