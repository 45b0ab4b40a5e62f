"""`slicer.parameterNodeWrapper`: typed access to a parameter node, for the types and widgets that the module uses.

Values stand in the real vtkMRMLScriptedModuleNode in the form the original gives them, so scenes can be exchanged. Like
the original: wrong types, values outside an annotation and unknown names raise; node values may be None.
"""

from __future__ import annotations

import enum
import sys
import typing
from dataclasses import dataclass

import slicer
import vtk

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]


@dataclass
class Default:
    """Annotated[T, Default(value)]."""

    value: object


@dataclass
class Decimals:
    """For spin boxes."""

    value: int


@dataclass
class SingleStep:
    """For spin boxes."""

    value: float


class WithinRange:
    """Minimum and maximum, both allowed."""

    def __init__(self, minimum: float, maximum: float) -> None:
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within [{self.minimum}, {self.maximum}], got {value}")


class Minimum:
    """A lower bound."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum

    def validate(self, value: float) -> None:
        if value < self.minimum:
            raise ValueError(f"Value must be at least {self.minimum}, got {value}")


class Maximum:
    """An upper bound."""

    def __init__(self, maximum: float) -> None:
        self.maximum = maximum

    def validate(self, value: float) -> None:
        if value > self.maximum:
            raise ValueError(f"Value must be at most {self.maximum}, got {value}")


class Choice:
    """One of these."""

    def __init__(self, choices: list[object]) -> None:
        self.choices = choices

    def validate(self, value: object) -> None:
        if value not in self.choices:
            raise ValueError(f"Value must be one of {self.choices}, got {value!r}")


class _Parameter:
    """One typed value of the node."""

    def __init__(self, name: str, hint: object) -> None:
        self.name, annotations = name, ()
        if typing.get_origin(hint) is typing.Annotated:
            hint, *annotations = typing.get_args(hint)
        self.kind, self.annotations = hint, annotations
        self.isNode = isinstance(hint, type) and issubclass(hint, slicer.vtkMRMLNode)
        self.isEnum = isinstance(hint, type) and issubclass(hint, enum.Enum)
        if not (self.isNode or self.isEnum or hint in (int, float, str, bool)):
            raise TypeError(f"{name}: the stand-in has no serializer for {hint}")

    def default(self, owner: type) -> object:
        if self.name in vars(owner):
            return vars(owner)[self.name]
        for one in self.annotations:
            if isinstance(one, Default):
                return one.value
        if self.isNode:
            return None
        return next(iter(self.kind)) if self.isEnum else self.kind()

    def check(self, value: object) -> None:
        kinds = (int, float) if self.kind is float else self.kind
        if not (isinstance(value, kinds) or (self.isNode and value is None)):
            raise TypeError(f"{self.name}: expected {self.kind.__name__}, got {value!r}")
        for one in self.annotations:
            if hasattr(one, "validate"):
                one.validate(value)

    def isIn(self, node: object) -> bool:
        return bool(node.HasParameter(self.name))

    def write(self, node: object, value: object) -> None:
        self.check(value)
        if self.isNode:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        else:
            node.SetParameter(self.name, value.name if self.isEnum else str(value))

    def read(self, node: object) -> object:
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.isEnum:
            return self.kind[text]
        return text == "True" if self.kind is bool else self.kind(text)


class _Connector:
    """A widget and the property, signal and conversion that bind it to a parameter."""

    def __init__(self, widget: object, parameter: _Parameter, changed: object) -> None:
        self.widget, self.parameter, self.changed = widget, parameter, changed
        kind = type(widget).__name__
        expected = {
            "QCheckBox": (bool,),
            "QSpinBox": (int,),
            "QDoubleSpinBox": (int, float),
            "ctkSliderWidget": (int, float),
            "QLineEdit": (str,),
        }
        self.choices = None
        if parameter.isNode:
            fits = kind == "qMRMLNodeComboBox"
        elif kind == "QComboBox":
            listed = next((one.choices for one in parameter.annotations if isinstance(one, Choice)), None)
            self.choices = list(parameter.kind) if parameter.isEnum else listed
            fits = self.choices is not None
        else:
            fits = parameter.kind in expected.get(kind, ())
        if not fits:
            raise RuntimeError(f"Unable to create GUI connector from {parameter.kind} to {kind} ({parameter.name})")
        self._prepare()
        self.signal = {
            "QCheckBox": "stateChanged",
            "QComboBox": "currentIndexChanged",
            "qMRMLNodeComboBox": "currentNodeChanged",
            "QLineEdit": "textChanged",
        }.get(kind, "valueChanged")
        self.slot = lambda *_: changed()

    def _prepare(self) -> None:
        """What the original does to a widget: fill a combo box, set node types and ranges."""
        if self.parameter.isNode:
            self.widget.nodeTypes = [self.parameter.kind.__name__]
        elif self.choices is not None:
            labels = [one.label() if hasattr(one, "label") else getattr(one, "name", str(one)) for one in self.choices]
            self.widget.clear()
            for label in labels:
                self.widget.addItem(label)
        elif self.parameter.kind in (int, float):
            low = next((one.minimum for one in self.parameter.annotations if hasattr(one, "minimum")), -(2**31))
            high = next((one.maximum for one in self.parameter.annotations if hasattr(one, "maximum")), 2**31 - 1)
            self.widget.minimum, self.widget.maximum = low, high

    def connect(self) -> None:
        getattr(self.widget, self.signal).connect(self.slot)

    def disconnect(self) -> None:
        getattr(self.widget, self.signal).disconnect(self.slot)

    def read(self) -> object:
        if self.parameter.isNode:
            return self.widget.currentNode()
        if self.choices is not None:
            return self.choices[self.widget.currentIndex]
        if self.parameter.kind is bool:
            return self.widget.checked
        if self.parameter.kind is str:
            return self.widget.text
        return self.parameter.kind(self.widget.value)

    def write(self, value: object) -> None:
        if self.parameter.isNode:
            self.widget.setCurrentNode(value)
        elif self.choices is not None:
            self.widget.currentIndex = self.choices.index(value)
        elif self.parameter.kind is bool:
            self.widget.checked = value
        elif self.parameter.kind is str:
            self.widget.text = value
        else:
            self.widget.value = value


class _Wrapper:
    """What the decorated class becomes."""

    allParameters: dict[str, _Parameter]

    def __init__(self, parameterNode: object) -> None:
        self.parameterNode = parameterNode
        self._guis: dict[int, tuple[list[_Connector], int]] = {}
        self._updating = False
        for parameter in self.allParameters.values():
            if not parameter.isIn(parameterNode):
                parameter.write(parameterNode, self._defaults[parameter.name])

    def default(self, name: str) -> Default:
        return Default(self._defaults[name])

    def getValue(self, name: str) -> object:
        return self.allParameters[name].read(self.parameterNode)

    def setValue(self, name: str, value: object) -> None:
        self.allParameters[name].write(self.parameterNode, value)

    def connectGui(self, gui: object) -> int:
        """Bind every widget in `gui` that has the dynamic property SlicerParameterName."""
        found = {widget.property("SlicerParameterName"): widget for widget in vars(gui).values()}
        return self.connectParametersToGui({name: widget for name, widget in found.items() if name})

    def connectParametersToGui(self, mapping: dict[str, object]) -> int:
        connectors = []
        for name, widget in mapping.items():
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
            connector = _Connector(widget, self.allParameters[name], None)
            connector.slot = lambda *_, one=connector: self._fromGui(one)
            connector.write(self.getValue(name))
            connector.connect()
            connectors.append(connector)
        tag = len(self._guis)
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._toGui())
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag: int) -> None:
        connectors, observer = self._guis.pop(tag)
        for connector in connectors:
            connector.disconnect()
        self.RemoveObserver(observer)

    def _fromGui(self, connector: _Connector) -> None:
        if not self._updating:
            self.setValue(connector.parameter.name, connector.read())

    def _toGui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            for connectors, _ in self._guis.values():
                for connector in connectors:
                    connector.write(self.getValue(connector.parameter.name))
        finally:
            self._updating = False

    def AddObserver(self, event: object, callback: object, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, was: int) -> None:
        self.parameterNode.EndModify(was)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(kind: type) -> type:
    """The class decorator."""
    scope = vars(sys.modules[kind.__module__])
    hints = typing.get_type_hints(kind, globalns=scope, include_extras=True)
    parameters = {name: _Parameter(name, hint) for name, hint in hints.items()}
    defaults = {name: parameter.default(kind) for name, parameter in parameters.items()}
    members: dict[str, object] = {"allParameters": parameters, "_defaults": defaults, "__doc__": kind.__doc__}
    members |= {name: value for name, value in vars(kind).items() if callable(value) and not name.startswith("__")}
    for name in parameters:
        if hasattr(_Wrapper, name):
            raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
        members[name] = property(
            lambda self, name=name: self.getValue(name), lambda self, value, name=name: self.setValue(name, value)
        )
    return type(kind.__name__, (_Wrapper,), members)


def isParameterNodeWrapper(value: object) -> bool:
    """Whether it is, or is an instance of, a decorated class."""
    return isinstance(value, _Wrapper) or (isinstance(value, type) and issubclass(value, _Wrapper))
