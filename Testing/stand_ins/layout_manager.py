"""`slicer.app.layoutManager()`: real layout nodes and slice logics; the views are drawn off screen when asked to.

The layout logic of slicer-core makes the view nodes of a layout from its XML, as in Slicer. A view's widget draws through
VTK's off-screen render window with the displayable managers that Slicer uses, and shows the picture.
"""

from __future__ import annotations

import types
import xml.etree.ElementTree as ET

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

SLICE_MANAGERS = (
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
)
THREE_D_MANAGERS = (
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLVolumeRenderingDisplayableManager",
)


NO_WINDOW = types.SimpleNamespace(GetNeverRendered=lambda: True)


class _View(QtWidgets.QFrame):
    """One view: a bar in its colour with its label, and the picture below."""

    __stand_in__ = True
    BAR = 18

    def __init__(self, node: object) -> None:
        super().__init__()
        self._node, self._picture, self._window, self._group = node, None, None, None
        self._enabled = True
        self.setMinimumSize(60, 60)

    def mrmlScene(self) -> object:
        return self._node.GetScene()

    def setRenderEnabled(self, enabled: bool) -> None:
        self._enabled = enabled

    renderEnabled = property(lambda self: self._enabled, setRenderEnabled)

    def renderWindow(self) -> object:
        """The window, which is made when the view first draws."""
        return NO_WINDOW if self._window is None else self._window

    def forceRender(self) -> None:
        """Draw now."""
        if not self._enabled:
            return
        size = (max(self.width, 32), max(self.height - self.BAR, 32))
        self._prepare(size)
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        output = grabber.GetOutput()
        width, height, _ = output.GetDimensions()
        pixels = vtk_to_numpy(output.GetPointData().GetScalars()).reshape(height, width, 3)[::-1].copy()
        self._picture = QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888).copy()
        self.update()

    scheduleRender = forceRender

    def _prepare(self, size: tuple[int, int]) -> None:
        if self._window is None:
            self._window, renderer = vtk.vtkRenderWindow(), vtk.vtkRenderer()
            self._window.SetOffScreenRendering(1)
            self._window.SetMultiSamples(0)
            self._window.SetNumberOfLayers(3)  # legends and interactions draw above the image
            self._window.AddRenderer(renderer)
            self._window.SetSize(*size)
            self._interactor = vtk.vtkGenericRenderWindowInteractor()
            self._interactor.SetRenderWindow(self._window)
            self._group = self._managers(renderer)
        self._window.SetSize(*size)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect, QtCore.Qt.black)
        colour = QtGui.QColor.fromRgbF(*self._node.GetLayoutColor())
        painter.fillRect(QtCore.QRect(0, 0, self.width, self.BAR), colour)
        painter.setPen(QtCore.Qt.black)
        label = f"{self._node.GetLayoutLabel() or ''}   {self._node.GetName() or ''}"
        painter.drawText(QtCore.QRect(6, 0, self.width - 8, self.BAR), QtCore.Qt.AlignVCenter, label)
        if self._picture is not None:
            painter.drawImage(QtCore.QPoint(0, self.BAR), self._picture)


class _Slider(QtWidgets.QWidget):
    __stand_in__ = True
    _spins = True
    spinBoxVisible = property(lambda self: self._spins, lambda self, visible: setattr(self, "_spins", visible))


class _SliceController(QtWidgets.QWidget):
    """What a slice view's bar consists of; it is not seen, the view paints its own."""

    __stand_in__ = True

    def __init__(self, view: QtWidgets.QWidget) -> None:
        super().__init__(view)
        self.hide()
        self._slider = _Slider(self)
        QtWidgets.QLabel(self).setObjectName("ViewLabel")
        QtWidgets.QToolButton(self).setObjectName("FitToWindowToolButton")

    def sliceOffsetSlider(self) -> _Slider:
        return self._slider


class qMRMLSliceWidget(_View):
    """A slice view with its logic."""

    __stand_in__ = True

    def __init__(self, node: object, logic: object) -> None:
        super().__init__(node)
        self._logic, self._controller = logic, _SliceController(self)

    def sliceController(self) -> _SliceController:
        return self._controller

    def sliceLogic(self) -> object:
        return self._logic

    def mrmlSliceNode(self) -> object:
        return self._node

    def sliceView(self) -> qMRMLSliceWidget:
        return self

    def _managers(self, renderer: object) -> object:
        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in SLICE_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        renderer.AddViewProp(actor)
        group = factory.InstantiateDisplayableManagers(renderer)
        group.SetMRMLDisplayableNode(self._node)
        return group

    def _prepare(self, size: tuple[int, int]) -> None:
        super()._prepare(size)
        dimensions = self._node.GetDimensions()
        if (dimensions[0], dimensions[1]) != size:
            self._logic.ResizeSliceNode(*size)
        self._logic.UpdatePipeline()
        self._mapper.SetInputConnection(self._logic.GetImageDataConnection())


class qMRMLThreeDWidget(_View):
    """A 3-D view."""

    __stand_in__ = True

    def threeDView(self) -> qMRMLThreeDWidget:
        return self

    def threeDController(self) -> qMRMLThreeDWidget:
        return self

    def mrmlViewNode(self) -> object:
        return self._node

    def renderWindow(self) -> object:
        self._prepare((max(self.width, 32), max(self.height - self.BAR, 32)))
        return self._window

    def resetFocalPoint(self) -> None:
        self.renderWindow().GetRenderers().GetFirstRenderer().ResetCamera()

    def _managers(self, renderer: object) -> object:
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        factory.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        for name in THREE_D_MANAGERS:
            if not factory.IsDisplayableManagerRegistered(name):
                factory.RegisterDisplayableManager(name)
        group = factory.InstantiateDisplayableManagers(renderer)
        group.SetMRMLDisplayableNode(self._node)
        return group


class _PlainView(_View):
    """A table or plot view: shows the table's text, or the name of the plot's chart."""

    __stand_in__ = True

    def forceRender(self) -> None:
        """Nothing of VTK is in it."""
        self.update()

    scheduleRender = forceRender

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QtGui.QPainter(self)
        painter.fillRect(self.rect.adjusted(0, self.BAR, 0, 0), QtCore.Qt.white)
        painter.setPen(QtCore.Qt.black)
        painter.drawText(self.rect.adjusted(6, self.BAR + 4, -6, -4), QtCore.Qt.AlignTop, self._text())

    def _text(self) -> str:
        if not self._node.IsA("vtkMRMLTableViewNode"):
            chart = self._node.GetPlotChartNode()
            return "" if chart is None else chart.GetName()
        node = self._node.GetTableNode()
        if node is None:
            return ""
        columns = range(node.GetNumberOfColumns())
        rows = [[node.GetColumnName(column) for column in columns]]
        rows += [[node.GetCellText(row, column) for column in columns] for row in range(node.GetNumberOfRows())]
        return "\n".join("   ".join(f"{cell:12}" for cell in row) for row in rows)


class qSlicerLayoutManager(QtCore.QObject):
    """Shows the views of the current layout."""

    __stand_in__ = True
    layoutChanged = QtCore.Signal(int)
    SIGNATURES = {"layoutChanged": ("layoutChanged(int)",)}

    def __init__(self, scene: object, application: object) -> None:
        super().__init__()
        self._scene, self._viewport = scene, QtWidgets.QWidget()
        self._viewport.setLayout(QtWidgets.QVBoxLayout())
        self._viewport.layout().setContentsMargins(0, 0, 0, 0)
        self._views: dict[str, _View] = {}
        self._slices = vtk.vtkCollection()
        application.SetSliceLogics(self._slices)
        self._logic = slicer.vtkMRMLLayoutLogic()
        self._logic.SetMRMLScene(scene)
        self._node, self._shown = self._logic.GetLayoutNode(), None
        self._node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update())
        scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, self._on_node_added)
        self._node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self._update()

    def mrmlScene(self) -> object:
        return self._scene

    def viewport(self) -> QtWidgets.QWidget:
        return self._viewport

    def setLayout(self, layout: int) -> None:
        self._node.SetViewArrangement(layout)

    layout = property(lambda self: self._node.GetViewArrangement(), lambda self, layout: self.setLayout(layout))

    def sliceViewNames(self) -> list[str]:
        return [name for name, view in self._views.items() if isinstance(view, qMRMLSliceWidget)]

    def sliceWidget(self, name: str) -> qMRMLSliceWidget | None:
        view = self._views.get(name)
        return view if isinstance(view, qMRMLSliceWidget) else None

    def _threeD(self) -> list[qMRMLThreeDWidget]:
        return [view for view in self._views.values() if isinstance(view, qMRMLThreeDWidget)]

    tableViewCount = 0
    threeDViewCount = property(lambda self: len(self._threeD()))

    def threeDWidget(self, which: int | str) -> qMRMLThreeDWidget | None:
        if isinstance(which, str):
            return next((view for view in self._threeD() if view._node.GetName() == which), None)
        views = self._threeD()
        return views[which] if which < len(views) else None

    def resetThreeDViews(self) -> None:
        for view in self._threeD():
            view.resetFocalPoint()

    def renderAll(self) -> None:
        """Only the stand-in has this: draw every view of the layout."""
        for view in self._views.values():
            if view.isVisible():
                view.forceRender()

    def _update(self) -> None:
        description = self._node.GetCurrentLayoutDescription()
        if description == self._shown or not description:
            return
        self._shown = description
        box = self._viewport.layout()
        while box.count():
            old = box.takeAt(0).widget()
            for view in self._views.values():
                view.setParent(None)
            old.deleteLater()
        box.addWidget(self._build(ET.fromstring(description)))
        self.layoutChanged.emit(self.layout)

    def _build(self, element: ET.Element) -> QtWidgets.QWidget:
        if element.tag == "view":
            return self._view(element)
        frame = QtWidgets.QWidget()
        kind = element.get("type", "horizontal")
        box = QtWidgets.QVBoxLayout(frame) if kind == "vertical" else QtWidgets.QHBoxLayout(frame)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        for item in element.findall("item"):
            for inner in item:
                widget = self._build(inner)
                if widget is not None:
                    box.addWidget(widget, int(item.get("splitSize", "1")))
        return frame

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, _scene: object, _event: str, node: object) -> None:
        """As in Slicer, a view is made when its node joins the scene, and shown when a layout asks for it."""
        if node.IsA("vtkMRMLAbstractViewNode") and node.GetLayoutName():
            self._view_of(node.GetLayoutName(), node)

    def _view(self, element: ET.Element) -> QtWidgets.QWidget | None:
        name = element.get("singletontag")
        node = self._scene.GetSingletonNode(name, element.get("class"))
        if node is None:
            return None
        view = self._view_of(name, node)
        view.setVisible(True)
        return view

    def _view_of(self, name: str, node: object) -> _View:
        """The view of a node; a new one where the node was removed and made again."""
        if name not in self._views or self._views[name]._node.GetScene() is None:
            self._views[name] = self._new_view(node)
        return self._views[name]

    def _new_view(self, node: object) -> _View:
        if node.IsA("vtkMRMLViewNode"):
            return self._prepared(qMRMLThreeDWidget(node))
        if not node.IsA("vtkMRMLSliceNode"):
            return _PlainView(node)
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        logic.SetMRMLScene(self._scene)
        logic.SetSliceNode(node)
        self._slices.AddItem(logic)
        return self._prepared(qMRMLSliceWidget(node, logic))

    def _prepared(self, view: _View) -> _View:
        """With its displayable managers, which hear of what joins the scene before the view first draws."""
        if self._scene.GetFirstNodeByClass("vtkMRMLInteractionNode") is not None:  # else the scene is going
            view._prepare((32, 32))
        return view
