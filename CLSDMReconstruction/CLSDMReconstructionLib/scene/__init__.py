"""The MRML scene: volumes between nodes, arrays and files (``Volumes`` alone turns LPS into RAS), views, and exposures in 3-D.

Neighbours may use every module of it.
"""

__all__ = [
    "Attributes",
    "Belongings",
    "ExposureScene",
    "HeldViews",
    "Legend",
    "Sampling",
    "SessionFiles",
    "Space",
    "VolumeExport",
    "Volumes",
    "XRayNodes",
    "XRaySources",
]
