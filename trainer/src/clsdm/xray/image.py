"""One X-ray image with its geometry, as every reader gives it and every consumer takes it; no tensors, no torch.

What becomes of it for a network is in ``xray``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from clsdm.errors import InputError
from clsdm.geometry.view import View, preset
from clsdm.plausible import check_plausible


@dataclass(frozen=True)
class XRay:
    """One X-ray image and how it was taken.

    Attributes:
        image: (rows, cols) float32, brighter where more was attenuated; arbitrary scale and offset.
        view: its geometry, for exactly this image size.
        valid: (rows, cols) bool, False where the image holds no measurement (collimation), or None for all valid.
        source: file name or other origin, for messages.
        patient_key: one-way hash that tells two patients apart without naming either, or None.
        origins: for each geometry field where it came from: "tag", "default" or "user".
        warnings: what the user should know about this image.
        isocentre_mm: LPS position of the isocentre in the patient's coordinates, where the file knows it.
        sop_instance: SOP Instance UID of its file when it was read, or "".
        seen: what ``preprocess`` made of it, by detector.
    """

    image: np.ndarray
    view: View
    valid: np.ndarray | None = None
    source: str = "X-ray"
    patient_key: str | None = None
    origins: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    isocentre_mm: tuple[float, float, float] | None = None
    sop_instance: str = ""
    seen: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.image.shape != (self.view.rows, self.view.cols):
            raise InputError(
                f"{self.source}: image has {self.image.shape} pixels (rows, columns), its geometry says "
                f"({self.view.rows}, {self.view.cols})"
            )

    @classmethod
    def from_array(
        cls,
        image: np.ndarray,
        angle_deg: float,
        pixel_mm: float | tuple[float, float],
        *,
        source_axis_mm: float | None = None,
        source_detector_mm: float | None = None,
        machine: str = "chest",
        valid: np.ndarray | None = None,
        source: str = "X-ray",
    ) -> XRay:
        """An X-ray out of an array that lies as ``geometry.View`` says.

        Args:
            image: (rows, cols), brighter where more was attenuated; any scale and offset.
            angle_deg: 0 PA, 180 AP, 90 left lateral, -90 right lateral.
            pixel_mm: on the detector, one number or (row, column).
            source_axis_mm: to the patient's middle; that of the machine if None.
            source_detector_mm: to the detector's plane; that of the machine if None.
            machine: preset of the distances and of the rays.
            valid: (rows, cols), False where the image holds no measurement.
            source: what messages call it.

        Raises:
            InputError: no image of at least 64x64 finite pixels with content, or an impossible geometry.
        """
        image = np.ascontiguousarray(image, dtype=np.float32)
        if image.ndim != 2:
            raise InputError(f"{source}: expected an array (rows, columns), found {image.ndim} dimensions")
        (rows, cols), kind = image.shape, preset(machine)
        distances = (source_axis_mm or kind.source_axis_mm, source_detector_mm or kind.source_detector_mm)
        pitch = pixel_mm if isinstance(pixel_mm, tuple) else (pixel_mm, pixel_mm)
        xray = cls(image, View(angle_deg, *distances, rows, cols, pixel_mm=pitch, beam=kind.beam), valid, source)
        check_image(xray)
        return xray


def check_pixels(count: int, source: str) -> None:
    """Refuse an image of too few measured pixels.

    Raises:
        InputError: fewer than 64x64.
    """
    if count < 64 * 64:
        raise InputError(f"{source}: expected at least 64x64 measured pixels, found {count} in all")


def check_view(view: View, source: str) -> None:
    """Refuse a geometry that no machine has, whoever says it: a file, an array's owner, a record, or a client of a server.

    Args:
        view: of an exposure, on the panel that took it.
        source: begins the message.

    Raises:
        InputError: names the field, its value and the range.
    """
    check_plausible("angle_deg", view.angle_deg, source)
    check_plausible("source_axis_mm", view.source_axis_mm, source)
    check_plausible("source_detector_mm", view.source_detector_mm, source)
    for spacing, count in zip(view.pixel_mm, (view.rows, view.cols), strict=True):
        check_plausible("panel_mm", spacing * count, source, f"the image's edge ({count} pixels of {spacing:g} mm)")
    for shift in view.offset_mm:
        check_plausible("offset_mm", shift, source)


def check_image(xray: XRay) -> None:
    """Refuse an image without content, or of an impossible geometry.

    Raises:
        InputError: empty, not finite, or constant; or as :func:`check_view`.
    """
    check_view(xray.view, xray.source)
    if not np.isfinite(xray.image).all():
        raise InputError(f"{xray.source}: the image holds NaN or infinite pixels")
    measured = xray.image if xray.valid is None else xray.image[xray.valid]
    check_pixels(measured.size, xray.source)
    if float(np.ptp(measured)) == 0.0:
        raise InputError(f"{xray.source}: the image is constant (every pixel is {float(measured.flat[0]):g})")


class SeveralImagesError(InputError):
    """The file holds several images, of which one must be named."""


def chosen_image(count: int, asked: int | None, source: object) -> int:
    """Which image of a cine run or of several pages is meant, from 1.

    Raises:
        SeveralImagesError: there are several, and none was named.
        InputError: there are not so many.
    """
    if asked is None and count > 1:
        raise SeveralImagesError(f"{source}: the file holds {count} images", f"choose one with --frame 1 to {count}")
    if asked is not None and not 1 <= asked <= count:
        raise InputError(f"{source}: image {asked} is asked for; the file holds images 1 to {count}")
    return asked or 1
