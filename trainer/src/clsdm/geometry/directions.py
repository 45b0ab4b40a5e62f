"""Directions in the patient: the axes of an image in a view, and the letters of DICOM's PatientOrientation. No torch."""

import math

import numpy as np

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
"""From DICOM's and ITK's axes to NIfTI's and 3D Slicer's, and back."""

LETTERS: dict[str, tuple[float, float, float]] = {
    "L": (1.0, 0.0, 0.0),
    "R": (-1.0, 0.0, 0.0),
    "P": (0.0, 1.0, 0.0),
    "A": (0.0, -1.0, 0.0),
    "H": (0.0, 0.0, 1.0),
    "F": (0.0, 0.0, -1.0),
}
"""LPS direction of each letter of DICOM's PatientOrientation."""


def image_axes(angle_deg: float, tilt_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """LPS unit vectors along which columns and rows of a view increase (``geometry.cameras`` says how views turn)."""
    angle, tilt = math.radians(angle_deg), math.radians(tilt_deg)
    right = np.array([math.cos(angle), math.sin(angle), 0.0])
    down = np.array([-math.sin(angle) * math.sin(tilt), math.cos(angle) * math.sin(tilt), -math.cos(tilt)])
    return right, down


def letters_of(direction: np.ndarray) -> str:
    """A direction in the letters of PatientOrientation, the largest part first: (.8, .6, 0) is "LP"."""
    at_least = math.sin(math.radians(15.0))
    parts = sorted(((float(direction @ np.array(axis)), name) for name, axis in LETTERS.items()), reverse=True)
    return "".join(name for part, name in parts if part > at_least)


def direction_of(letters: str) -> np.ndarray | None:
    """The unit vector that letters such as "LP" stand for, each letter half as heavy as the one before; or None."""
    if not letters or any(letter not in LETTERS for letter in letters):
        return None
    total = np.sum([np.array(LETTERS[letter]) * 0.5**place for place, letter in enumerate(letters)], axis=0)
    length = float(np.linalg.norm(total))
    return total / length if length > 0.1 else None
