"""The bars and heads of the comparison's views: labels in full, and three planes beside each other on a small screen."""

import qt
import slicer

LABEL_MARGIN = 6


def tidySlice(tag: str, label: str, spins: bool) -> None:
    """Make the bar of a slice view narrow, where there is a view of this tag.

    Args:
        tag: of the view.
        label: in its bar, which else cuts it to two letters.
        spins: whether this plane has the box with its position. The planes of a column are linked, so one is enough; the
            others have the button that fits all of them into their views.
    """
    manager = slicer.app.layoutManager()
    widget = None if manager is None else manager.sliceWidget(tag)
    if widget is None:
        return
    bar = widget.sliceController()  # of hundreds of widgets, which slicer.util.findChildren would look at in Python
    for each in bar.findChildren(qt.QWidget, "ViewLabel"):
        each.minimumWidth = qt.QFontMetrics(each.font).horizontalAdvance(label) + LABEL_MARGIN
    for each in bar.findChildren(qt.QWidget, "FitToWindowToolButton"):
        each.visible = not spins
    slider = bar.sliceOffsetSlider()
    slider.spinBoxVisible = spins
    slider.setSizePolicy(qt.QSizePolicy.Preferred, qt.QSizePolicy.Fixed)  # Slicer's own lets it not become shorter


def tidyTables(node) -> None:
    """Where this table is shown, its numbers stay in sight however narrow it is; the first column takes what is left."""
    manager = slicer.app.layoutManager()
    for index in range(0 if manager is None else manager.tableViewCount):
        view = manager.tableWidget(index).tableView()
        head = view.horizontalHeader()
        if view.mrmlTableNode() is node and head.count() > 0:  # Qt crashes when asked for a column that is not there
            view.verticalHeader().visible = False
            head.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
            head.setSectionResizeMode(0, qt.QHeaderView.Stretch)
