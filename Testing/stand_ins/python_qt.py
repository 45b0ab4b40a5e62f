"""PythonQt's manners for PySide6, as read in PythonQtInstanceWrapper.cpp and PythonQtSignal.cpp.

A property wins over the method of its name (`edit.text`); `name` is `objectName`; writing anything that is no writable
property raises, except on Python's own subclasses; enum values are attributes of their class (`QProcess.Running`); signals are
connected by name (`obj.connect("clicked(bool)", f)`) as well as `obj.clicked.connect(f)`; a slot gets as many arguments
as it takes. `Signal`, `Slot` and `Property` do not exist.

Where PythonQt prints and goes on (a misspelt signal, an exception in a slot), this raises: see `slot_errors`.
"""

import enum
import functools
import inspect
import sys
import traceback

import shiboken6
from PySide6 import QtCore, QtGui, QtNetwork, QtWidgets

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork)
NOT_IN_PYTHONQT = {"Signal", "Slot", "Property", "ClassInfo", "QtMsgType", "qDebug", "qWarning", "qCritical"}
VIRTUAL = {"sizeHint", "minimumSizeHint"}
"""Stay methods here: PySide6 asks Python for overrides of them. Do not use them (properties in PythonQt)."""
HIDDEN = {"singleShot"}
"""No properties in PythonQt (PythonQtClassInfo.cpp): `QTimer.singleShot` is the static method; use setSingleShot."""

slot_errors: list[str] = []
"""Tracebacks of exceptions that left a slot or an event handler; `conftest` fails the test that caused them."""


def apply() -> None:
    """Change PySide6's classes; there is no way back in this process."""
    for module in MODULES:
        for kind in [getattr(module, name) for name in dir(module)]:  # PySide6 makes its classes on first use
            if isinstance(kind, type) and kind.__module__.startswith("PySide6"):
                flatten_enums(kind)
                if issubclass(kind, QtCore.QObject):
                    properties_win(kind)
                    if "__getattribute__" in vars(kind):
                        _getters[kind] = vars(kind)["__getattribute__"]
                    kind.__setattr__, kind.__getattribute__ = _set_attribute, _get_attribute
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.name = property(lambda self: self.objectName, lambda self, value: self.setObjectName(value))
    QtCore.QObject.delete = shiboken6.delete
    for kind in (QtWidgets.QLayout, QtWidgets.QMenu):  # so slicer.util.childWidgetVariables leaves empty layouts out
        kind.__bool__ = lambda self: not self.isEmpty()
    for kind in (
        QtWidgets.QDialog,
        QtWidgets.QMenu,
        QtWidgets.QApplication,
        QtCore.QCoreApplication,
        QtCore.QEventLoop,
    ):
        kind.exec_ = kind.exec
    sys.excepthook = _remember


def flatten_enums(kind: type) -> None:
    """`Qt.AlignLeft` beside `Qt.AlignmentFlag.AlignLeft`, for classes and what is nested in them."""
    for nested in list(vars(kind).values()):
        if isinstance(nested, enum.EnumMeta):
            for name, member in nested.__members__.items():
                if name not in vars(kind):
                    setattr(kind, name, member)


def properties_win(kind: type) -> None:
    """Python properties for a class's own Qt properties, in place of the getters of their names."""
    meta = kind.staticMetaObject
    for index in range(meta.propertyOffset(), meta.propertyCount()):
        described = meta.property(index)
        name = described.name()
        if name not in VIRTUAL | HIDDEN and not isinstance(vars(kind).get(name), (QtCore.Property, property)):
            setattr(kind, name, _property(name, described.isWritable(), getattr(kind, name, None)))


class _Property(property):
    """A property of instances; the class has what it hides, for static methods."""

    hidden: object = None

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self.hidden if instance is None and self.hidden is not None else super().__get__(instance, owner)


def _property(name: str, writable: bool, hidden: object) -> property:
    def get(self: QtCore.QObject) -> object:
        return QtCore.QObject.property(self, name)

    def set_(self: QtCore.QObject, value: object) -> None:
        if not writable:
            raise AttributeError(f"Property '{name}' of {self.className()} object is not writable")
        if not QtCore.QObject.setProperty(self, name, value):
            raise AttributeError(f"Property '{name}' of {self.className()} does not accept {value!r}")

    made = _Property(get, set_)
    made.hidden = hidden if callable(hidden) else None
    return made


_getters: dict[type, object] = {}
"""PySide6's own; they bind methods that are static as well (`QFile.exists`)."""


def _get_attribute(self: QtCore.QObject, name: str) -> object:
    if name in ("connect", "disconnect"):  # PySide6 finds its own before anything set on a class
        return {"connect": _connect, "disconnect": _disconnect}[name].__get__(self)
    found = _static(type(self), name)
    if isinstance(found, QtCore.Property):
        return found.fget(self)
    return _getter(type(self))(self, name)


@functools.cache
def _static(kind: type, name: str) -> object:
    """The attribute of a class by its name, without calling it."""
    return next((vars(base)[name] for base in kind.__mro__ if name in vars(base)), None)


@functools.cache
def _getter(kind: type) -> object:
    return next(_getters[base] for base in kind.__mro__ if base in _getters)


def _set_attribute(self: QtCore.QObject, name: str, value: object) -> None:
    if isinstance(value, QtCore.SignalInstance):  # PySide6 keeps a bound signal on its object
        vars(self)[name] = value
        return
    _check_write(self, name)
    if name in _dynamic(self):
        QtCore.QObject.setProperty(self, name, value)
        return
    found = _static(type(self), name)
    if isinstance(found, QtCore.Property):
        found.fset(self, value)
    elif hasattr(found, "__set__"):
        found.__set__(self, value)
    else:
        vars(self)[name] = value


def _check_write(self: QtCore.QObject, name: str) -> None:
    """Refuse attributes that are no property, except on Python subclasses (our stand-ins have private ones)."""
    kind = type(self)
    found = _static(kind, name)
    if isinstance(found, (property, QtCore.Property)):
        return
    is_stand_in = "__stand_in__" in vars(kind)
    is_python_class = not kind.__module__.startswith("PySide6") and not is_stand_in
    if is_python_class or (is_stand_in and name.startswith("_")) or name in _dynamic(self):
        return
    reason = "can not be overwritten" if found is not None else "does not exist; no new attributes on C++ objects"
    raise AttributeError(f"'{name}' of {kind.__name__}: {reason}")


def _dynamic(self: QtCore.QObject) -> set[str]:
    return {bytes(name.data()).decode() for name in self.dynamicPropertyNames()}


def _emitter(self: QtCore.QObject, signature: str) -> object:
    """The bound signal with this name and these argument types, or ValueError."""
    name, _, arguments = signature.partition("(")
    if not isinstance(_static(type(self), name), QtCore.Signal):
        raise ValueError(f"{type(self).__name__} has no signal {signature!r}")
    bound = getattr(self, name)
    if not arguments:
        return bound
    declared = getattr(type(self), "SIGNATURES", {}).get(name)
    if declared is not None:
        if signature not in declared:
            raise ValueError(f"{type(self).__name__} has no signal {signature!r}; it has {declared}")
        return bound
    wanted = QtCore.QMetaObject.normalizedSignature(signature).data().decode()
    if self.metaObject().indexOfSignal(wanted) < 0:
        raise ValueError(f"{type(self).__name__} has no signal {signature!r}")
    return _Named(self, wanted)


class _Named:
    """One overload of a signal, by its C++ signature."""

    def __init__(self, sender: QtCore.QObject, signature: str) -> None:
        self.sender, self.signature = sender, QtCore.SIGNAL(signature)

    def connect(self, slot: object) -> None:
        _original_connect(self.sender, self.signature, slot)

    def disconnect(self, slot: object) -> None:
        _original_disconnect(self.sender, self.signature, slot)


_original_connect = QtCore.QObject.connect
_original_disconnect = QtCore.QObject.disconnect
_connections: dict[tuple[int, str, object], object] = {}


def _connect(self: QtCore.QObject, signature: str, receiver: object, *member: object) -> object:
    """`obj.connect("signal(T)", f)`, or `obj.connect("signal(T)", other, "slot(T)")`."""
    if not isinstance(signature, str):  # PySide6's own from QTimer.singleShot: the sender comes first
        return _original_connect(signature, receiver, *member)
    if member:
        receiver = getattr(receiver, member[0].partition("(")[0])
    if not callable(receiver):
        raise TypeError(f"connect: {receiver!r} cannot be called")
    slot = _fitting(receiver)
    _emitter(self, signature).connect(slot)
    _connections[(id(self), signature, receiver)] = slot
    return True


def _disconnect(self: QtCore.QObject, signature: str, receiver: object) -> bool:
    slot = _connections.pop((id(self), signature, receiver), None)
    if slot is None:
        raise ValueError(f"{type(self).__name__}: {signature} is not connected to {receiver!r}")
    _emitter(self, signature).disconnect(slot)
    return True


def _fitting(function: object) -> object:
    """A slot that hands on as many arguments as the function takes."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return function
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return lambda *values: function(*values)
    count = sum(
        parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters
    )
    return lambda *values: function(*values[:count])


def _remember(kind: type[BaseException], error: BaseException, trace: object) -> None:
    text = "".join(traceback.format_exception(kind, error, trace))
    slot_errors.append(text)
    sys.stderr.write(text)
