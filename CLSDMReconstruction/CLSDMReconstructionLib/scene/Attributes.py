"""The attributes by which a node of this module says what it is and how it was made; they are saved with the scene."""

import json
from typing import Any

PREFIX = "CLSDM."
ROLE_ATTRIBUTE = PREFIX + "role"
"""The kind of a node of ours: "volume", "coverage", "spread", "others", "difference", "pattern" or "exposure"."""

COVERAGE_ROLE, SPREAD_ROLE, OTHERS_ROLE = PREFIX + "coverage", PREFIX + "spread", PREFIX + "others"
"""References from a reconstruction to the nodes that belong to it."""


_NOT_PROVENANCE = ("role", "residuals", "warnings", "source_instance_uids", "source_xrays", "measures")


def setAttributes(node, values: dict[str, Any]) -> None:
    """Write plain JSON types as attributes ``CLSDM.<name>``; None is left out. Text is written without quotes."""
    for name, value in values.items():
        if value is not None:
            node.SetAttribute(PREFIX + name, value if _isPlainText(value) else json.dumps(value))


def isUsers(node) -> bool:
    """Whether a node is none of ours."""
    return not any(name.startswith(PREFIX) for name in node.GetAttributeNames())


def clearAttributes(node) -> None:
    """Remove all of ours, but what kind of node it is."""
    for name in list(node.GetAttributeNames()):
        if name.startswith(PREFIX) and name != ROLE_ATTRIBUTE:
            node.RemoveAttribute(name)


def attributeOf(node, name: str, default: Any = None) -> Any:
    """The attribute ``CLSDM.<name>`` in JSON types, or the default where the node has none."""
    text = node.GetAttribute(PREFIX + name)
    return default if text is None else _read(text)


def provenanceOf(node) -> dict[str, Any]:
    """The provenance of a reconstruction, as in ``clsdm.result.Reconstruction.provenance``."""
    names = [name.removeprefix(PREFIX) for name in node.GetAttributeNames() if name.startswith(PREFIX)]
    return {name: attributeOf(node, name) for name in names if name not in _NOT_PROVENANCE}


def _isPlainText(value: Any) -> bool:
    return isinstance(value, str) and _read(value) is value


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
