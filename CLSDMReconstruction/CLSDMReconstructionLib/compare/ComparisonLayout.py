"""The layout of a comparison: truth, reconstruction and difference, each axial, coronal and sagittal, beside 3-D.

Rows are linked inside a view group of their own, so scrolling one axial view scrolls all three; which volume a view
shows is never passed on. The layout that was there before comes back on leaving, also in a scene that was saved in between.
"""

from collections.abc import Collection, Iterator

import numpy as np
import slicer
import vtk

from CLSDMReconstructionLib.base import Nodes
from CLSDMReconstructionLib.compare.ViewBars import tidySlice
from CLSDMReconstructionLib.scene import Space
from CLSDMReconstructionLib.scene.Attributes import PREFIX
from CLSDMReconstructionLib.scene.Sampling import centre, corners

LAYOUT_ID = 5207
"""Slicer's own layouts end at 100; other extensions use numbers of three digits."""
VIEW_GROUP = 5207
BEFORE = PREFIX + "layout_before"
"""Attribute of the layout node: the user's layout. It is saved with the scene, as the layout that is shown is."""

ROWS = ("Truth", "Reconstruction", "Difference")
PLANES = {"Axial": "#F34A33", "Coronal": "#6EB04B", "Sagittal": "#EDD54C"}
THREE_D, TABLE, PLOT = "CLSDM3D", "CLSDMMetrics", "CLSDMProfile"
OTHERS = {
    THREE_D: ("vtkMRMLViewNode", "3D"),
    TABLE: ("vtkMRMLTableViewNode", "Metrics"),
    PLOT: ("vtkMRMLPlotViewNode", "Profile"),
}
WIDE_PIXELS = 1100
"""Three planes need 250 pixels each (see ViewBars), and a table as much again."""

_SLICE = """<item><view class="vtkMRMLSliceNode" singletontag="{tag}">
 <property name="orientation" action="relayout">{plane}</property>
 <property name="viewlabel" action="relayout">{label}</property>
 <property name="viewcolor" action="relayout">{colour}</property>
 <property name="viewgroup" action="relayout">{group}</property>
</view></item>"""
_OTHER = """<item><view class="{kind}" singletontag="{tag}">
 <property name="viewlabel" action="relayout">{label}</property>
 <property name="viewgroup" action="relayout">{group}</property>
</view></item>"""


def viewTag(row: str, plane: str) -> str:
    """Singleton tag of a slice view, which is also its layout name."""
    return f"CLSDM{row}{plane}"


_GROUPS = [*([viewTag(row, plane) for plane in PLANES] for row in ROWS), [THREE_D, TABLE]]
VIEWS = tuple(tag for group in _GROUPS for tag in group)
ALL_VIEWS = (*VIEWS, PLOT)
"""With the plot, which is not there before there is a profile to plot."""
GROWING = (
    (),
    *(tuple(group[:count]) for group in _GROUPS for count in range(1, len(group) + 1)),
    *(tuple(tag for group in _GROUPS[:count] for tag in group) for count in range(2, len(_GROUPS) + 1)),
)
"""The sets of views that the layout shows one after the other when it is drawn for the first time.

A view takes long when it is first shown, and then a little whenever the layout around it changes: so the user's views go,
each row grows by itself, and then they come together."""


def layoutXml(wide: bool = True, shown: Collection[str] = ALL_VIEWS) -> str:
    """The layout's description, or of some of its views.

    Args:
        wide: where the views' area is not, 3-D, table and plot lie below the planes.
        shown: tags of the views.
    """
    rows = [
        "".join(
            _SLICE.format(tag=viewTag(row, plane), plane=plane, label=row, colour=colour, group=VIEW_GROUP)
            for plane, colour in PLANES.items()
            if viewTag(row, plane) in shown
        )
        for row in ROWS
    ]
    planes = "".join(f"<item><layout type='horizontal'>{row}</layout></item>" for row in rows if row)
    others = "".join(
        _OTHER.format(kind=kind, tag=tag, label=label, group=VIEW_GROUP)
        for tag, (kind, label) in OTHERS.items()
        if tag in shown
    )
    outer, inner = ("horizontal", "vertical") if wide else ("vertical", "horizontal")
    return (
        f"<layout type='{outer}' split='true'>"
        + (f"<item splitSize='700'><layout type='vertical'>{planes}</layout></item>" if planes else "")
        + (f"<item splitSize='300'><layout type='{inner}'>{others}</layout></item>" if others else "")
        + "</layout>"
    )


def isWide() -> bool:
    """Whether 3-D, table and plot find room beside three planes; also without a main window, where nothing is drawn."""
    manager = slicer.app.layoutManager()
    return manager is None or manager.viewport().width >= WIDE_PIXELS


class ComparisonLayout:
    """Shows two volumes and their difference; :meth:`leave` undoes all of it."""

    def __init__(self) -> None:
        self._toGrow, self._views, self._described = GROWING, VIEWS, ()

    @property
    def isShown(self) -> bool:
        """Whether the layout is the one on the screen."""
        node = self._layoutNode()
        return node is not None and node.GetViewArrangement() == LAYOUT_ID

    def makeViews(self) -> Iterator[float]:
        """Make the views one by one; Slicer would make all of them at once when the layout is entered.

        A view is made when its node joins the scene. What the node is to look like, the layout says. A slice view looks
        for the node that says what it shows, and would else add one in the same step.
        """
        tags = {viewTag(row, plane): ("vtkMRMLSliceNode", row) for row in ROWS for plane in PLANES} | OTHERS
        for done, (tag, (kind, label)) in enumerate(tags.items(), 1):
            for each in ("vtkMRMLSliceCompositeNode", kind) if kind == "vtkMRMLSliceNode" else (kind,):
                if slicer.mrmlScene.GetSingletonNode(tag, each) is None:
                    node = slicer.mrmlScene.CreateNodeByClass(each)
                    node.UnRegister(None)
                    Nodes.keepFromUndo(node)
                    node.SetLayoutName(tag)
                    if each != "vtkMRMLSliceCompositeNode":
                        node.SetViewGroup(VIEW_GROUP)
                        node.SetName(f"View{tag}" if each == "vtkMRMLViewNode" else tag)  # as Slicer names them
                    vtk.vtkGarbageCollector.DeferredCollectionPush()  # what it collects takes long: a step of its own
                    try:
                        slicer.mrmlScene.AddNode(node)
                        yield done / len(tags)
                    finally:
                        vtk.vtkGarbageCollector.DeferredCollectionPop()
                    yield done / len(tags)
            tidySlice(tag, label, label == ROWS[0])  # before it has a place in the window, which it else makes wider

    def enter(self) -> Iterator[float]:
        """Switch to the layout and remember the user's; the views exist when the event loop has turned.

        The first time it grows a view at a time, see ``GROWING``; it ends where it is when the user chooses another layout
        meanwhile, and the next time it goes on from there.
        """
        node, wide = self._layoutNode(), isWide()
        if node is None or (self.isShown and not self._toGrow and self._described == self._views):
            return
        for number, shown in enumerate(self._toGrow or [self._views]):
            if number > 0:
                yield number / len(GROWING)
                if not self.isShown:
                    return
            self._describe(wide, shown)
            self._toGrow = self._toGrow[1:]

    def showPlot(self, shown: bool = True, *, later: bool = False) -> None:
        """Give the plot a place in the layout or take it away: at once where it is shown, or ``later``, when it is next."""
        self._views = ALL_VIEWS if shown else VIEWS
        if not later and self.isShown and not self._toGrow and self._described != self._views:
            self._describe(isWide(), self._views)

    def _describe(self, wide: bool, shown: tuple[str, ...]) -> None:
        node, description, self._described = self._layoutNode(), layoutXml(wide, shown), shown
        with slicer.util.NodeModify(node):  # Slicer lays all views out anew whenever it hears of this node
            if node.IsLayoutDescription(LAYOUT_ID):
                node.SetLayoutDescription(LAYOUT_ID, description)
            else:
                node.AddLayoutDescription(LAYOUT_ID, description)
            if not self.isShown:
                node.SetAttribute(BEFORE, str(node.GetViewArrangement()))
            node.SetViewArrangement(LAYOUT_ID)

    def leave(self) -> None:
        """Bring back the user's layout, or four views where it is not known, unless another was chosen meanwhile."""
        for row in ROWS:
            for _, sliceNode, _ in self.views(row):
                sliceNode.SetSliceVisible(False)
        if self.isShown:
            node = self._layoutNode()
            said = node.GetAttribute(BEFORE) or ""
            before = int(said) if said.isdecimal() else LAYOUT_ID
            known = before != LAYOUT_ID and node.IsLayoutDescription(before)
            node.SetViewArrangement(before if known else node.SlicerLayoutFourUpView)

    def show(self, truth, reconstruction, difference) -> Iterator[float]:
        """Put the volumes into their rows, linked, along the truth's axes, around the reconstruction; a view at a time.

        A view is drawn when it gets its volume, and each draws the 3-D view anew that shows a plane of it.
        """
        done = 0
        for row, volume in zip(ROWS, (truth, reconstruction, difference), strict=True):
            for plane, sliceNode, composite in self.views(row):
                _fit(plane, sliceNode, truth, reconstruction)
                composite.SetLinkedControl(True)
                composite.SetHotLinkedControl(True)
                # Which volume is shown, and how opaque, is a view's own affair; also when Slicer shows a new one everywhere.
                composite.SetInteractionFlagsModifier(0)
                composite.SetDoPropagateVolumeSelection(False)
                composite.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
                composite.SetForegroundVolumeID(None)
                composite.SetLabelVolumeID(None)
                _seenIn3D(sliceNode, row == "Reconstruction")
                done += 1
                yield done / (len(ROWS) * len(PLANES))
        if self.tableView() is not None:
            self.tableView().SetDoPropagateTableSelection(False)
        if self.plotView() is not None:
            self.plotView().SetDoPropagatePlotChartSelection(False)
        space = slicer.mrmlScene.GetSingletonNode(THREE_D, "vtkMRMLViewNode")
        if space is not None:
            space.SetBoxVisible(False)  # it would reach to the sources, metres away
            space.SetAxisLabelsVisible(False)
            Space.look(space, reconstruction)

    def letGo(self, node) -> Iterator[float]:
        """Show a volume no longer, a view at a time."""
        for row in ROWS:
            for _, _, composite in self.views(row):
                if node.GetID() and composite.GetBackgroundVolumeID() == node.GetID():
                    composite.SetBackgroundVolumeID(None)
                    yield 0.0

    def position(self) -> np.ndarray:
        """RAS position where the three planes of the reconstruction cross."""
        planes = []
        for _, sliceNode, _ in self.views("Reconstruction"):
            toRas = sliceNode.GetSliceToRAS()
            planes.append([toRas.GetElement(row, col) for row in range(3) for col in (2, 3)])
        if len(planes) < 3:
            return np.zeros(3)
        normals, points = np.array(planes)[:, 0::2], np.array(planes)[:, 1::2]
        return np.linalg.solve(normals, (normals * points).sum(1))

    def views(self, row: str):
        """(plane, slice node, composite node) of the row's views that exist."""
        for plane in PLANES:
            tag = viewTag(row, plane)
            sliceNode = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceNode")
            composite = slicer.mrmlScene.GetSingletonNode(tag, "vtkMRMLSliceCompositeNode")
            if sliceNode is not None and composite is not None:
                yield plane, sliceNode, composite

    def viewsWith(self, row: str) -> list:
        """The nodes of all views in which the row's planes are seen."""
        space = slicer.mrmlScene.GetSingletonNode(THREE_D, "vtkMRMLViewNode")
        return [sliceNode for _, sliceNode, _ in self.views(row)] + ([] if space is None else [space])

    def tableView(self):
        """The table view's node, or None."""
        return slicer.mrmlScene.GetSingletonNode(TABLE, "vtkMRMLTableViewNode")

    def plotView(self):
        """The plot view's node, or None."""
        return slicer.mrmlScene.GetSingletonNode(PLOT, "vtkMRMLPlotViewNode")

    def _layoutNode(self):
        return slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLLayoutNode")


def _seenIn3D(sliceNode, seen: bool) -> None:
    """Show a plane in 3-D or not, without the frame that Slicer 5.13 puts around the whole view's plane.

    It is a view's own affair: Slicer's button would pass it on to the linked views as soon as it hears of it here.
    """
    kind, own = slicer.vtkMRMLSliceNode, slicer.vtkMRMLSliceNode.SliceVisibleFlag
    if hasattr(kind, "SetSliceEdgeVisibility3D"):
        own |= kind.SliceEdgeVisibility3DFlag
    sliceNode.SetInteractionFlagsModifier(sliceNode.GetInteractionFlagsModifier() & ~own)
    if hasattr(kind, "SetSliceEdgeVisibility3D"):
        sliceNode.SetSliceEdgeVisibility3D(False)
    sliceNode.SetSliceVisible(seen)


def _fit(plane: str, sliceNode, truth, reconstruction) -> None:
    """A plane along the truth's axes, through the middle of the reconstruction, and wide enough for it."""
    sliceNode.SetOrientation(plane)
    if truth is not None:
        sliceNode.RotateToVolumePlane(truth)
    axes = np.array([[sliceNode.GetSliceToRAS().GetElement(r, c) for c in range(3)] for r in range(3)])
    width, height, _ = np.ptp(corners(reconstruction) @ axes, axis=0)
    columns, lines = (max(1, count) for count in sliceNode.GetDimensions()[:2])
    mmPerPixel = 1.05 * max(width / columns, height / lines)
    sliceNode.SetFieldOfView(mmPerPixel * columns, mmPerPixel * lines, sliceNode.GetFieldOfView()[2])
    sliceNode.SetXYZOrigin(0.0, 0.0, 0.0)
    sliceNode.JumpSliceByCentering(*centre(reconstruction))
