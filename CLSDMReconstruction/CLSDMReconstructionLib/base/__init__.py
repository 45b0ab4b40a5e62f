"""The ground of every other room, without X-rays: the path of the core, work in steps, child processes, styles, nodes.

Neighbours may use every module of it.
"""

__all__ = [
    "Appearance",
    "CorePath",
    "Dropping",
    "Narrow",
    "Nodes",
    "Numbers",
    "Panel",
    "Pictures",
    "Preload",
    "QtChannel",
    "Steps",
]
