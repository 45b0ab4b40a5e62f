"""From stored values to attenuation: the grey-scale transformations of DICOM PS3.3, in their order.

Two ways lead to *brighter means more attenuation*:

- By physics, where PixelIntensityRelationshipSign is given and the image is not FOR PRESENTATION. The sign speaks of the
  STORED values (PS3.3 C.8.11.3.1.2), so a falling rescale or modality LUT turns it round. LIN data become line integrals
  by -log; so do XA data that are LOG with a modality LUT, which by C.8.7.1.1.2 leads back to the beam's intensity.
- As a reader sees it, everywhere else: modality LUT, then VOI LUT Sequence or, FOR PRESENTATION, window (LINEAR,
  LINEAR_EXACT, SIGMOID), then MONOCHROME1 or an INVERSE presentation LUT. Elsewhere a window is a suggestion to look at a
  part of the values, and nothing is clipped. Bone is bright in what is shown, dark in fluoroscopy (XA, RF).
"""

from dataclasses import dataclass

import numpy as np

from clsdm.errors import InputError
from clsdm.files.dicom_tags import Tags
from clsdm.xray.orient import Pair

FLUOROSCOPY = ("XA", "RF")
MOST_CLIPPED = 0.6
"""A window that leaves more than this part of the pixels without contrast was not meant for the whole image."""


@dataclass(frozen=True)
class Polarity:
    """Which way the grey scale runs.

    Attributes:
        by_beam: +1 where larger modality values are more beam, -1 where less; 0 where what is shown decides.
        low_is_white: MONOCHROME1, or an INVERSE presentation LUT.
        bone_dark: in the image as shown.
        stated: by the file or the user; False where it had to be assumed.
    """

    by_beam: int
    low_is_white: bool
    bone_dark: bool
    stated: bool


def polarity(tags: Tags, invert: bool | None) -> Polarity:
    """The grey scale by tags and user.

    Args:
        tags: of the file.
        invert: True where the image as shown has bone dark, False where bright; None: by the tags.
    """
    white = tags.text("PresentationLUTShape") == "INVERSE" or tags.text("PhotometricInterpretation") == "MONOCHROME1"
    if invert is not None:
        return Polarity(0, white, invert, True)
    falls = _falls(tags)
    if beam := _beam_sign(tags):
        return Polarity(beam * (-1 if falls else 1), white, (beam > 0) != (white != falls), True)
    if _log_with_lut(tags):
        return Polarity(1, white, not white, True)
    fluoroscopy = tags.text("Modality") in FLUOROSCOPY
    return Polarity(0, white, fluoroscopy, not fluoroscopy)


def voi_window(tags: Tags) -> Pair | None:
    """(low, high) modality values between which the first window looks, or None."""
    centre, width = tags.number("WindowCenter"), tags.number("WindowWidth")
    if centre is None or width is None or width < 1.0:
        return None
    return centre - width / 2, centre + width / 2


def attenuation(
    tags: Tags, stored: np.ndarray, how: Polarity, window: Pair | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Brighter where more was attenuated.

    Args:
        tags: of the file.
        stored: (rows, cols) stored values.
        how: the grey scale.
        window: the user's (low, high) in modality values, in place of the file's; None: the file's.

    Returns:
        (rows, cols) float32 and notes.

    Raises:
        InputError: a table that is none, or linear data without a beam.
    """
    values = modality_values(tags, stored)
    if window is not None:
        values = np.clip(values, *window)
    if _is_linear(tags):
        rises = how.by_beam > 0 if how.by_beam else how.bone_dark != how.low_is_white
        return _line_integrals(values, rises, tags), ()
    if how.by_beam:
        return (-how.by_beam * values).astype(np.float32), ()
    shown, notes = (values, ()) if window is not None else _presented(tags, values)
    dark = how.bone_dark != how.low_is_white
    return (-shown if dark else shown).astype(np.float32), notes


def modality_values(tags: Tags, stored: np.ndarray) -> np.ndarray:
    """Stored values through the modality LUT or rescale, and a real-world mapping of LOG data; (rows, cols) float64."""
    if tables := tags.items("ModalityLUTSequence"):
        first, data = _table(tables[0])
        return data[np.clip(stored.astype(np.int64) - first, 0, len(data) - 1)]
    slope, intercept = tags.number("RescaleSlope"), tags.number("RescaleIntercept")
    values = stored.astype(np.float64)
    values *= slope or 1.0
    values += intercept or 0.0
    mappings = tags.items("RealWorldValueMappingSequence")
    if mappings and tags.text("PixelIntensityRelationship") == "LOG":
        slope, intercept = (mappings[0].number(f"RealWorldValue{part}") for part in ("Slope", "Intercept"))
        values = values * (slope or 1.0) + (intercept or 0.0)
    return values


def _falls(tags: Tags) -> bool:
    """Whether larger stored values become smaller modality values."""
    if tables := tags.items("ModalityLUTSequence"):
        return _runs_down(_table(tables[0])[1])
    return (tags.number("RescaleSlope") or 1.0) < 0.0


def _runs_down(data: np.ndarray) -> bool:
    return float(data[-1]) < float(data[0])


def _beam_sign(tags: Tags) -> int:
    """PixelIntensityRelationshipSign as +1 or -1; 0 where it is missing, another number, or not meant for these pixels."""
    sign = tags.count("PixelIntensityRelationshipSign")
    return sign if sign in (1, -1) and tags.text("PresentationIntentType") != "FOR PRESENTATION" else 0


def _log_with_lut(tags: Tags) -> bool:
    """XA and RF: a modality LUT of LOG data leads back to the intensity of the beam."""
    return (
        tags.text("Modality") in FLUOROSCOPY
        and tags.text("PixelIntensityRelationship") == "LOG"
        and bool(tags.items("ModalityLUTSequence"))
    )


def _is_linear(tags: Tags) -> bool:
    if tags.text("PresentationIntentType") == "FOR PRESENTATION":
        return False
    return tags.text("PixelIntensityRelationship") == "LIN" or _log_with_lut(tags)


def _line_integrals(values: np.ndarray, rises: bool, tags: Tags) -> np.ndarray:
    """-log of the beam's intensity; ``rises``: larger values are more beam."""
    beam = values if rises else values.max() - values
    brightest = float(beam.max())
    if not brightest > 0.0:
        raise InputError(f"{tags.path}: PixelIntensityRelationship is LIN but no pixel is above 0")
    return -np.log(np.clip(beam / brightest, 1e-4, None)).astype(np.float32)


def _presented(tags: Tags, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Modality values through the first VOI LUT, or else the first window."""
    if tables := tags.items("VOILUTSequence"):
        first, data = _table(tables[0])
        shown = data[np.clip(np.round(values).astype(np.int64) - first, 0, len(data) - 1)]
        if np.ptp(shown) > 0.0:
            return shown, ()
        return values, ("the VOI LUT leaves the image constant; not used",)
    window = voi_window(tags)
    if window is None or tags.text("PresentationIntentType") != "FOR PRESENTATION":
        return values, ()
    function = tags.text("VOILUTFunction")
    if function not in ("LINEAR_EXACT", "SIGMOID"):
        window = window[0], max(window[1] - 1.0, window[0] + 0.5)  # PS3.3 C.11.2.1.2.1
    clipped = float(((values < window[0]) | (values > window[1])).mean())
    if clipped > MOST_CLIPPED:
        note = f"the window {window[0]:g} to {window[1]:g} leaves {clipped:.0%} of the image without contrast; not used"
        return values, (note,)
    if function == "SIGMOID":
        middle, width = (window[0] + window[1]) / 2, window[1] - window[0]
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - middle) / width, -60.0, 60.0))), ()  # PS3.3 C.11.2.1.3.1
    return np.clip(values, *window), ()


def _table(item: Tags) -> tuple[int, np.ndarray]:
    """The first value that a LUT maps, and what it maps to, (n,) float64.

    Raises:
        InputError: the table is empty, or shorter than it says.
    """
    descriptor, data = item.numbers("LUTDescriptor"), item.value("LUTData")
    if len(descriptor) != 3 or data is None:
        raise InputError(f"{item.path}: a LUT has no LUTDescriptor of three numbers, or no LUTData")
    count, first, bits = (int(value) for value in descriptor)
    count = count or 65536
    first -= 65536 if first > 32767 and _is_signed(item) else 0
    if isinstance(data, bytes):
        data = np.frombuffer(data, "u1" if bits <= 8 and len(data) <= count + 1 else "<u2")
    entries = np.atleast_1d(np.asarray(data, dtype=np.float64))
    if len(entries) < count:
        raise InputError(f"{item.path}: LUTData holds {len(entries)} values; its LUTDescriptor says {count}")
    return first, entries[:count]


def _is_signed(item: Tags) -> bool:
    element = item.dataset["LUTDescriptor"]
    return element.VR == "SS"
