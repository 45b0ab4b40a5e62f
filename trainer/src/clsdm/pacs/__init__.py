"""A PACS by DICOMweb: finding studies (QIDO), pulling their X-rays (WADO) and storing what was made of them (STOW).
Neighbours may use what is in ``__all__``; the library that speaks DICOMweb is imported when a PACS is, not before.
"""

__all__ = ["client", "transfer"]
