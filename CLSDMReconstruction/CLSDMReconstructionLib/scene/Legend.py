"""Legend of a volume's colours: a bar with numbers in every view that shows it."""

import slicer

POSITION, SIZE = (0.98, 0.5), (0.08, 0.45)
"""Fractions of a view: at its right edge, and half as high as the view."""
FONT_SIZE = 14


def showLegend(node, title: str, shown: bool = True) -> None:
    """Show or hide the legend of a volume node that has a display node; it goes with the node."""
    logic = slicer.modules.colors.logic()
    legend = logic.GetColorLegendDisplayNode(node)
    if legend is None:
        if not shown:
            return
        legend = logic.AddDefaultColorLegendDisplayNode(node)
        legend.SetSaveWithScene(False)
        legend.SetPosition(*POSITION)
        legend.SetSize(*SIZE)
        legend.SetNumberOfLabels(3)
        legend.SetLabelFormat("%.0f")
        for text in (legend.GetTitleTextProperty(), legend.GetLabelTextProperty()):  # else as large as the view allows
            text.SetFontSize(FONT_SIZE)
    legend.SetTitleText(title)
    legend.SetVisibility(shown)
