"""Stand-ins for 3D Slicer, so that the module's tests run without it: `install()` makes `slicer`, `qt` and `ctk` importable.

`vtk` and most of `slicer` are real (PyPI's slicer-core: the MRML scene, its nodes, logics and `slicer.util`). Qt is real
too (PySide6), given PythonQt's manners by `python_qt`. Emulated are Slicer's application, its qMRML and CTK widgets, and
the Python packages `ScriptedLoadableModule`, `parameterNodeWrapper` and `i18n`. A stand-in is meant to be stricter than
the original: what the original refuses, prints or ignores is an error here. No test may depend on one.
"""

import os
import sys
from pathlib import Path


def install(module: Path | None = None) -> None:
    """Make `slicer`, `qt`, `ctk` and `vtk` importable, once per process, with an application and an empty scene.

    Args:
        module: a scripted module's file, to be known as by "Additional module paths".
    """
    if "qt" in sys.modules:
        return
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("QT_LOGGING_RULES", "qt.qpa.*=false")
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
    from stand_ins import application, python_qt, qt_namespaces

    python_qt.apply()
    qt_namespaces.install()
    application.install()
    if module is not None:
        application.load_module(module)
