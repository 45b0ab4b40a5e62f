"""X-ray images: reading them in every format, bringing them upright, and the one preprocessing of the networks' input.
Neighbours may use what is in ``__all__``; only ``preprocess`` and ``write_dx`` need torch.
"""

__all__ = [
    "dicom",
    "guess",
    "image",
    "notes",
    "pair",
    "preprocess",
    "profiles",
    "read",
    "scouts",
    "write_dx",
    "write_localizer",
]
