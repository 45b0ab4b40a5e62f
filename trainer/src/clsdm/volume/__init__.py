"""CT volumes in HU: values, cubes, the body, reading and writing; arrays are (z, y, x) with an LPS affine.
Neighbours may use what is in ``__all__``; nothing here needs torch.
"""

__all__ = [
    "body",
    "containers",
    "ct",
    "cube",
    "headers",
    "hu",
    "masks",
    "nifti",
    "read",
    "read_dicom",
    "slices",
    "write",
    "write_dicom",
]
