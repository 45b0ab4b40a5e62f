"""X-rays of a loaded CT: which machines there are, what a user may type as angles, and how long the beams are."""

from slicer.i18n import tr as _

from CLSDMReconstructionLib.base.CorePath import ensureCore


def presets() -> dict[str, str]:
    """Name and label, with the distance from source to detector, of each machine with a cone beam that the core knows."""
    ensureCore()
    from clsdm.geometry.view import PRESETS

    labels = {
        "chest": _("Chest radiography ({cm} cm)"),
        "x2ct": _("Published protocol X2CT ({cm} cm)"),
        "c-arm": _("C-arm ({cm} cm)"),
        "linac-kv": _("Linac kV imaging ({cm} cm)"),
    }
    return {
        name: labels.get(name, f"{name} ({{cm}} cm)").format(cm=f"{machine.source_detector_mm / 10:.0f}")
        for name, machine in PRESETS.items()
        if machine.beam == "cone"  # the exposure in the scene is drawn as a cone
    }


def parseAngles(text: str) -> tuple[float, ...]:
    """Angles in degrees from text such as "0, 90".

    Raises:
        ValueError: not a list of one to eight different numbers; the message is for the user.
    """
    ensureCore()
    from clsdm.geometry.view import MAX_VIEWS

    words = text.replace(",", " ").replace(";", " ").replace("°", " ").split()
    try:
        angles = tuple(float(word) for word in words)
    except ValueError:
        raise ValueError(f"Angles: expected numbers such as 0, 90; found {text.strip()!r}.") from None
    different = {angle % 360.0 for angle in angles}
    if not 1 <= len(angles) <= MAX_VIEWS or len(different) < len(angles) or not all(abs(a) <= 360.0 for a in angles):
        raise ValueError(f"Angles: expected 1 to {MAX_VIEWS} different angles between -360 and 360 degrees.")
    return angles
