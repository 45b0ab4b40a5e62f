"""Renders Resources/CLSDMReconstruction.svg to the 128x128 icon that Slicer and the Extensions Index show.

python Testing/icon.py        # needs PySide6
"""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZE = 128


def main() -> None:
    """Draw the icon."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    from PySide6 import QtCore, QtGui, QtSvg

    application = QtGui.QGuiApplication([])
    image = QtGui.QImage(SIZE, SIZE, QtGui.QImage.Format.Format_ARGB32)
    image.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(image)
    QtSvg.QSvgRenderer(str(ROOT / "Resources" / "CLSDMReconstruction.svg")).render(painter)
    painter.end()
    image.save(str(ROOT / "CLSDMReconstruction" / "Resources" / "Icons" / "CLSDMReconstruction.png"))
    application.quit()


if __name__ == "__main__":
    main()
