"""Files from outside and to outside: names, strict JSON, DICOM tags and pixels, and writing whole or not at all. Neighbours may
use what is in ``__all__``; nothing here needs torch or knows of X-rays.
"""

__all__ = [
    "atomic", "dicom", "dicom_open", "dicom_pixels", "dicom_tags", "digest", "itk", "jpeg_codes", "names", "png", "scratch",
    "strict_json",
]  # fmt: skip
