"""The paths of the X-rays' files, for as long as this Slicer runs.

A scene is handed on, and a path may hold a patient's name or a user's. So a scene holds a key of this table instead,
which means nothing anywhere else. The module is not loaded anew when the others are, so that an open scene keeps its files.
"""

import uuid

_PATHS: dict[str, str] = {}


def keyOf(path: str) -> str:
    """The key of a path; always the same for one path."""
    known = next((key for key, kept in _PATHS.items() if kept == path), None)
    if known is None:
        known = uuid.uuid4().hex
        _PATHS[known] = path
    return known


def pathOf(key: str | None) -> str | None:
    """The path of a key, or None in another Slicer than the one that made it."""
    return _PATHS.get(key) if key else None
