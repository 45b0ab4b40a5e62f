"""ITK without its warnings on the console."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk  # noqa: N813 - its usual name


@contextmanager
def quiet_itk() -> Iterator[None]:
    """ITK says nothing inside; what it refuses is a RuntimeError."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def itk_header(path: Path) -> sitk.ImageFileReader:
    """A reader that knows size, spacing and type of an image.

    Raises:
        RuntimeError: ITK cannot read it.
    """
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with quiet_itk():
        reader.ReadImageInformation()
    return reader
