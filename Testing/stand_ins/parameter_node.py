"""`slicer.parameterNodeWrapper`: typed access to a parameter node, for the types and widgets that the module uses.

Values are kept in the real vtkMRMLScriptedModuleNode in the form the original gives them, so scenes can be exchanged. Like
the original: wrong types, values outside an annotation and unknown names raise; node values may be None.
"""

import sys
import typing
from dataclasses import dataclass

import slicer
import vtk

__all__ = ["Choice", "Default", "WithinRange", "parameterNodeWrapper"]


@dataclass
class Default:
    """Annotated[T, Default(value)]."""

    value: object


class WithinRange:
    """Minimum and maximum, both allowed."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within [{self.minimum}, {self.maximum}], got {value}")


class Choice:
    """One of these."""

    def __init__(self, choices: list[object]) -> None:
        self.choices = choices

    def validate(self, value: object) -> None:
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, got {value!r}")


class _Parameter:
    """One typed value of the node: text, a whole number, or a node."""

    def __init__(self, name: str, hint: object) -> None:
        self.name, annotations = name, ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *annotations = typing.get_args(hint)
        self.kind, self.annotations = hint, annotations
        self.isNode = isinstance(hint, type) and issubclass(hint, slicer.vtkMRMLNode)
        if not (self.isNode or hint in (int, str)):
            raise TypeError(f"{name}: the stand-in has no serializer for {hint}")

    def annotation(self, kind: type) -> object:
        return next((one for one in self.annotations if isinstance(one, kind)), None)

    def default(self) -> object:
        stated = self.annotation(Default)
        if stated is not None:
            return stated.value
        return None if self.isNode else self.kind()

    def check(self, value: object) -> None:
        if not (isinstance(value, self.kind) or (self.isNode and value is None)):
            raise TypeError(f"{self.name}: expected {self.kind.__name__}, got {value!r}")
        for one in self.annotations:
            if hasattr(one, "validate"):
                one.validate(value)

    def isIn(self, node: object) -> bool:
        return bool(node.HasParameter(self.name))

    def write(self, node: object, value: object) -> None:
        self.check(value)
        node.SetParameter(self.name, "" if self.isNode else str(value))
        if self.isNode:
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())

    def read(self, node: object) -> object:
        return node.GetNodeReference(self.name) if self.isNode else self.kind(node.GetParameter(self.name))


class _Connector:
    """Binds a widget to a parameter: QComboBox to a choice, QSpinBox to a number, qMRMLNodeComboBox to a node."""

    SIGNALS = {
        "QComboBox": "currentIndexChanged",
        "QSpinBox": "valueChanged",
        "qMRMLNodeComboBox": "currentNodeChanged",
    }

    def __init__(self, widget: object, parameter: _Parameter, changed: object) -> None:
        self.widget, self.parameter, kind = widget, parameter, type(widget).__name__
        self.choice = parameter.annotation(Choice)
        wanted = "qMRMLNodeComboBox" if parameter.isNode else "QSpinBox" if parameter.kind is int else "QComboBox"
        if kind != wanted or (kind == "QComboBox" and self.choice is None):
            raise RuntimeError(f"Unable to create GUI connector from {parameter.kind} to {kind} ({parameter.name})")
        self._prepare()
        self.signal, self.slot = self.SIGNALS[kind], lambda *_: changed(self)

    def _prepare(self) -> None:
        """Fill a combo box, set node types and ranges, as the original does."""
        if self.parameter.isNode:
            self.widget.nodeTypes = [self.parameter.kind.__name__]
        elif self.choice is not None:
            self.widget.clear()
            for label in self.choice.choices:
                self.widget.addItem(label)
        else:
            span = self.parameter.annotation(WithinRange) or WithinRange(-(2**31), 2**31 - 1)
            self.widget.minimum, self.widget.maximum = span.minimum, span.maximum

    def connect(self) -> None:
        getattr(self.widget, self.signal).connect(self.slot)

    def disconnect(self) -> None:
        getattr(self.widget, self.signal).disconnect(self.slot)

    def read(self) -> object:
        if self.parameter.isNode:
            return self.widget.currentNode()
        return self.widget.value if self.choice is None else self.choice.choices[self.widget.currentIndex]

    def write(self, value: object) -> None:
        if self.parameter.isNode:
            self.widget.setCurrentNode(value)
        elif self.choice is None:
            self.widget.value = value
        else:
            self.widget.currentIndex = self.choice.choices.index(value)


class _Wrapper:
    """The base of every decorated class."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: object) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, list[_Connector]] = {}
        self._updating = False
        for parameter in self.allParameters.values():
            if not parameter.isIn(parameterNode):
                parameter.write(parameterNode, parameter.default())

    def getValue(self, name: str) -> object:
        return self.allParameters[name].read(self.parameterNode)

    def setValue(self, name: str, value: object) -> None:
        self.allParameters[name].write(self.parameterNode, value)

    def connectGui(self, gui: object) -> int:
        """Bind every widget in `gui` that has the dynamic property SlicerParameterName."""
        named = [(widget.property("SlicerParameterName"), widget) for widget in vars(gui).values()]
        connectors = [_Connector(widget, self.allParameters[name], self._fromGui) for name, widget in named if name]
        for connector in connectors:
            connector.write(self.getValue(connector.parameter.name))
            connector.connect()
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._toGui())
        self._guis[observer] = connectors
        return observer

    def disconnectGui(self, tag: int) -> None:
        for connector in self._guis.pop(tag):
            connector.disconnect()
        self.parameterNode.RemoveObserver(tag)

    def _fromGui(self, connector: _Connector) -> None:
        if not self._updating:
            self.setValue(connector.parameter.name, connector.read())

    def _toGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors in self._guis.values():
                for connector in connectors:
                    connector.write(self.getValue(connector.parameter.name))
        finally:
            self._updating = False

    def AddObserver(self, event: object, callback: object, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was: int) -> None:
        self.parameterNode.EndModify(was)


def parameterNodeWrapper(kind: type) -> type:
    """The class decorator."""
    scope = vars(sys.modules[kind.__module__])
    hints = typing.get_type_hints(kind, globalns=scope, include_extras=True)
    parameters = {name: _Parameter(name, hint) for name, hint in hints.items()}
    members: dict[str, object] = {"allParameters": parameters, "__doc__": kind.__doc__}
    for name in parameters:
        if hasattr(_Wrapper, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        members[name] = property(
            lambda self, name=name: self.getValue(name), lambda self, value, name=name: self.setValue(name, value)
        )
    return type(kind.__name__, (_Wrapper,), members)
