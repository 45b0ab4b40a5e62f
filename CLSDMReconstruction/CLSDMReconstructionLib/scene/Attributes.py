"""The attributes by which a node of this module says what it is and how it was made; they are saved with the scene."""

import json
from typing import Any

PREFIX = "CLSDM."
ROLE_ATTRIBUTE = PREFIX + "role"
"""What a node of ours is: "volume", "coverage", "spread", "difference", "pattern" or "exposure"."""

COVERAGE_ROLE, SPREAD_ROLE = PREFIX + "coverage", PREFIX + "spread"
"""References from a reconstruction to the nodes that belong to it."""


def setAttributes(node, values: dict[str, Any]) -> None:
    """Write plain JSON types as attributes ``CLSDM.<name>``; None is left out."""
    for name, value in values.items():
        if value is not None:
            node.SetAttribute(PREFIX + name, value if isinstance(value, str) else json.dumps(value))


def attributeOf(node, name: str, default: Any = None) -> Any:
    """The attribute ``CLSDM.<name>`` that holds JSON, or the default where the node has none."""
    text = node.GetAttribute(PREFIX + name)
    return json.loads(text) if text else default


def provenanceOf(node) -> dict[str, str]:
    """Every attribute of ours, as text: how a reconstruction was made."""
    names = [name for name in node.GetAttributeNames() if name.startswith(PREFIX)]
    return {name.removeprefix(PREFIX): node.GetAttribute(name) for name in names}


def residualsOf(node) -> list[dict[str, Any]]:
    """The residuals of a reconstruction, also of one whose scene was saved and opened again."""
    return attributeOf(node, "residuals", [])
