"""How a reconstruction was made, from its provenance, as tables of a report: of the whole, and of each X-ray. No torch.

What a record says may have been changed by hand: what is not of the kind that is written there is shown as it stands.
"""

import json
from collections.abc import Mapping
from typing import Any

from clsdm.geometry.view import view_name

_PRODUCTS = {
    "mean": "posterior mean",
    "sample": "one sample among many",
    "ensemble": "mean of samples, with their standard deviation",
}
_LABELS = {
    "grid": "Grid",
    "software": "Program",
    "model": "Model",
    "model_version": "Version of the model",
    "model_sha256": "SHA-256 of the model's weights",
    "product": "Product",
    "seed": "Seed of the samples",
    "samples": "Samples",
    "steps": "Steps for each sample",
    "consistency": "Corrected by its X-rays",
    "refined": "Geometry found by the residual",
    "device": "Computed on",
    "isocentre_lps_mm": "Isocentre (x, y, z; LPS, mm)",
}
_ORIGINS = {"tag": "file", "user": "entered", "default": "assumed"}
_OF_A_VIEW = {
    "angle_deg": ("Angle (0 is PA, 90 a left lateral)", "°"),
    "tilt_deg": ("Tilt towards the head", "°"),
    "source_axis_mm": ("Source to isocentre", "mm"),
    "source_detector_mm": ("Source to detector", "mm"),
    "pixel_mm": ("Pixel on the detector (row, column)", "mm"),
    "rows": ("Rows", ""),
    "cols": ("Columns", ""),
    "offset_mm": ("Middle of the image off the principal ray (down, right)", "mm"),
    "beam": ("Beam", ""),
}
_UNSHOWN = ("notice", "views")
"""The page itself shows the one, and a table of its own the others."""


def made_rows(entries: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What holds for the whole: label and text, without what does not apply."""
    views = views_of(entries)
    left_out = _UNSHOWN if views else _UNSHOWN[:1]
    return [
        (_LABELS.get(str(key), str(key)), _text(str(key), value))
        for key, value in entries.items()
        if value is not None and key not in left_out
    ]


def views_of(entries: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The X-rays' geometry; empty where there is none, or it is no list of tables."""
    views = entries.get("views")
    return views if isinstance(views, list) and views and all(isinstance(view, dict) for view in views) else []


def view_rows(views: list[dict[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The heads, one for each X-ray below an empty one, and the rows: label, then of each X-ray value and where it came from."""
    heads = ("", *(_head(number, view) for number, view in enumerate(views, 1)))
    known = [key for key in _OF_A_VIEW if any(key in view for view in views)]
    rows = [(_OF_A_VIEW[key][0], *(_of_a_view(view, key) for view in views)) for key in known]
    others = dict.fromkeys(str(key) for view in views for key in view if key not in (*_OF_A_VIEW, "origins"))
    rows += [(key, *(_plain(view[key]) if key in view else "" for view in views)) for key in others]
    how = [
        (name, words) for name, words in (("orientation", "Orientation"), ("window", "Window")) if _tells(views, name)
    ]
    return heads, rows + [(words, *(_origin(view, name) for view in views)) for name, words in how]


def _head(number: int, view: Mapping[str, Any]) -> str:
    angle = view.get("angle_deg")
    return f"X-ray {number}, {view_name(angle)}" if isinstance(angle, int | float) else f"X-ray {number}"


def _of_a_view(view: Mapping[str, Any], key: str) -> str:
    if key not in view:
        return ""
    unit, origin = _OF_A_VIEW[key][1], _origin(view, key)
    text = f"{_plain(view[key])}{'' if unit == '°' else ' '}{unit}".strip()
    return f"{text} ({origin})" if origin else text


def _tells(views: list[dict[str, Any]], name: str) -> bool:
    return any(_origin(view, name) for view in views)


def _origin(view: Mapping[str, Any], name: str) -> str:
    origins = view.get("origins")
    origin = origins.get(name) if isinstance(origins, dict) else None
    return "" if origin is None else _ORIGINS.get(str(origin), str(origin))


def _text(key: str, value: Any) -> str:  # noqa: ANN401 - provenance holds any JSON value
    return _PRODUCTS.get(value, value) if key == "product" and isinstance(value, str) else _plain(value)


def _plain(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and all(isinstance(each, int | float) for each in value):
        return ", ".join(map(_plain, value))
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict | list | tuple) else str(value)
