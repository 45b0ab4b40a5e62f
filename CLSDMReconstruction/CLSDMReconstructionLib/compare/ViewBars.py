"""The bars of the comparison's views: their labels in full, and three of them beside each other on a small screen."""

import qt
import slicer

LABEL_MARGIN = 6


def tidyView(tag: str, label: str, spins: bool) -> None:
    """Make a slice view or table narrow, once there is one of this tag.

    Args:
        tag: of the view.
        label: in its bar, which else cuts it to two letters.
        spins: whether this plane has the box with its position. The planes of a column are linked, so one is enough; the
            others have the button that fits all of them into their views.
    """
    manager = slicer.app.layoutManager()
    if manager is None:
        return
    if manager.sliceWidget(tag) is not None:
        _tidySlice(manager.sliceWidget(tag).sliceController(), label, spins)
    for index in range(manager.tableViewCount):
        view = manager.tableWidget(index).tableView()
        if view.mrmlTableViewNode() is not None and view.mrmlTableViewNode().GetLayoutName() == tag:
            _tidyTable(view)


def _tidySlice(bar, label: str, spins: bool) -> None:
    for each in slicer.util.findChildren(bar, name="ViewLabel"):
        each.minimumWidth = qt.QFontMetrics(each.font).horizontalAdvance(label) + LABEL_MARGIN
    for each in slicer.util.findChildren(bar, name="FitToWindowToolButton"):
        each.visible = not spins
    bar.sliceOffsetSlider().spinBoxVisible = spins


def _tidyTable(view) -> None:
    """The numbers stay in sight however narrow it is; the first column takes the room that is left."""
    view.verticalHeader().visible = False
    view.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    view.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
