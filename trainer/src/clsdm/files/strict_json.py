"""Plain JSON to frozen dataclasses and back, strictly: a missing or unknown field or a wrong type is an error."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from typing import Any, TypeVar

from clsdm.errors import InputError

Target = TypeVar("Target")


def to_plain(value: Any) -> Any:  # noqa: ANN401 - any dataclass
    """A dataclass as JSON types."""
    return dataclasses.asdict(value)


def from_plain(kind: type[Target], data: Any, where: str) -> Target:  # noqa: ANN401 - untrusted JSON
    """Build a dataclass of ``kind`` from JSON types; fields with defaults may be left out.

    Args:
        kind: a dataclass whose fields are numbers, strings, booleans, Literals, optionals, tuples or dataclasses.
        data: what was read.
        where: prefix of messages, for example the file's name.

    Raises:
        InputError: names the field, what was found and what was expected.
    """
    if not isinstance(data, dict):
        raise InputError(f"{where}: expected an object with the fields of {kind.__name__}, found {data!r}")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for name in data:
        if name not in fields:
            raise InputError(f"{where}.{name}: unknown field; expected one of {', '.join(fields)}")
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()}
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise InputError(f"{where}.{name}: missing")
    try:
        return kind(**values)
    except (ValueError, InputError) as error:  # of __post_init__, which does not know the file
        raise InputError(f"{where}: {error}") from None


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return from_plain(kind, value, where)  # type: ignore[arg-type]
    if origin is typing.Literal:
        if value not in arguments:
            raise InputError(f"{where}: expected one of {', '.join(map(repr, arguments))}, found {value!r}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(_alternative(arguments, value), value, where)
    if origin in (tuple, list):
        return _sequence(origin, arguments, value, where)
    if kind is float:
        return _finite(value, where)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where}: expected {kind.__name__}, found {value!r}")
    return value


def _alternative(kinds: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401
    """Which kind of a union is meant: the sequence for a list, else the first that is none."""
    listed = isinstance(value, (list, tuple))
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    return next((kind for kind in kinds if (typing.get_origin(kind) in (tuple, list)) == listed), kinds[0])


def _finite(value: Any, where: str) -> float:  # noqa: ANN401
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InputError(f"{where}: expected float, found {value!r}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{where}: expected a finite number, found {number}")
    return number


def _sequence(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:  # noqa: ANN401
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where}: expected a list, found {value!r}")
    if origin is tuple and Ellipsis not in arguments and len(value) != len(arguments):
        raise InputError(f"{where}: expected {len(arguments)} values, found {len(value)}")
    kinds = [arguments[0]] * len(value) if origin is list or Ellipsis in arguments else arguments
    return origin(_value(each, item, f"{where}[{i}]") for i, (each, item) in enumerate(zip(kinds, value, strict=True)))
