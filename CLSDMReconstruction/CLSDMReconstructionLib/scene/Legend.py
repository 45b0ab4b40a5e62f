"""Legend of a volume's colours: a bar with numbers in every view that shows it."""

import slicer

POSITION, HEIGHT = (0.98, 0.5), 0.45
"""Fractions of a view: at its right edge, and half as high as the view."""
WIDE_PIXELS = 34
"""Of the bar with its numbers, which Slicer writes as large as fits; in the widest of the views that are shown."""


def showLegend(node, title: str, shown: bool = True, label: str = "%.0f") -> None:
    """Show or hide the legend of a volume node that has a display node; it goes with the node.

    Args:
        node: the volume.
        title: above the bar.
        shown: False to hide it.
        label: format of the numbers.
    """
    logic = slicer.modules.colors.logic()
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is None:
        if not shown:
            return
        legend = logic.AddDefaultColorLegendDisplayNode(node)
        legend.SetSaveWithScene(False)
        legend.SetPosition(*POSITION)
        legend.SetNumberOfLabels(3)
        legend.SetLabelFormat(label)
    views = [view for view in slicer.util.getNodesByClass("vtkMRMLSliceNode") if view.IsMappedInLayout()]
    widest = max((view.GetDimensions()[0] for view in views), default=0)
    legend.SetSize(WIDE_PIXELS / max(widest, 4 * WIDE_PIXELS), HEIGHT)
    legend.SetTitleText(title)
    legend.SetVisibility(shown)
