"""The folder of the reconstruction core, the package ``clsdm``."""

import sys
from pathlib import Path

PACKAGE = "clsdm"


def corePath() -> Path:
    """The folder that holds the package ``clsdm``: beside the module when installed, else the source tree's.

    Raises:
        ImportError: in neither folder.
    """
    module = Path(__file__).resolve().parents[2]
    for folder in (module, module.parent / "trainer" / "src"):
        if (folder / PACKAGE / "__init__.py").is_file():
            return folder
    raise ImportError(f"the folder {PACKAGE} is neither in {module} nor in {module.parent / 'trainer' / 'src'}")


def ensureCore() -> None:
    """Make ``import clsdm`` find the core that belongs to this module."""
    folder = str(corePath())
    if folder not in sys.path:
        sys.path.insert(0, folder)
