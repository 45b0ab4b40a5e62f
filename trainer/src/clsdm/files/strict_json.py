"""JSON from outside, strictly: what is no JSON, a missing or unknown field, or a wrong type is a one-line error."""

import dataclasses
import inspect
import json
import math
import reprlib
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from clsdm.errors import InputError
from clsdm.files.names import regular_file
from clsdm.limits import JSON_BYTES, check_bytes

Target = TypeVar("Target")


def read_json(path: Path, kind: str) -> Any:  # noqa: ANN401 - untrusted JSON
    """The content of a JSON file.

    Args:
        path: of the file.
        kind: of file, like "request", for messages.

    Raises:
        InputError: missing, no regular file, too large, or not JSON.
    """
    if not path.exists():
        raise InputError(f"{path}: cannot be read (no such file)")
    path = regular_file(path, kind)
    try:
        check_bytes(path.stat().st_size, JSON_BYTES, path, f"a {kind}")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_json(data, str(path))


def parse_json(data: bytes, where: str) -> Any:  # noqa: ANN401 - untrusted JSON
    """JSON in UTF-8; NaN and Infinity, which are none, are refused.

    Args:
        data: the text.
        where: prefix of messages, for example the file's name.

    Raises:
        InputError: not JSON, or nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON ({error})") from None


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def arguments_of(function: Callable[..., Any], data: dict[str, Any], given: int, where: str) -> dict[str, Any]:
    """Keyword arguments of a function from JSON types, by its annotations.

    Args:
        function: its annotations are those that :func:`from_plain` knows, or a dict or list of anything.
        data: what was read.
        given: so many of its first parameters are given otherwise.
        where: prefix of messages.

    Raises:
        InputError: one is missing, unknown, or of another type.
    """
    parameters = list(inspect.signature(function).parameters.values())[given:]
    hints = typing.get_type_hints(function) if data else {}
    names = [each.name for each in parameters]
    for name in data:
        if name not in names:
            raise InputError(f"{where}.{name}: unknown field; expected one of {', '.join(names) or 'none'}")
    for each in parameters:
        if each.default is inspect.Parameter.empty and each.name not in data:
            raise InputError(f"{where}.{each.name}: missing")
    return {name: _value(hints[name], value, f"{where}.{name}") for name, value in data.items()}


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
        raise InputError(f"{where}: expected an object with the fields of {kind.__name__}, found {reprlib.repr(data)}")
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
        raise InputError(f"{where}: {error}", field=getattr(error, "field", "")) from None


def _value(kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is typing.Any:
        return value
    if dataclasses.is_dataclass(kind):
        return from_plain(kind, value, where)  # type: ignore[arg-type]
    if origin is typing.Literal:
        if not any(value == each and type(value) is type(each) for each in arguments):
            raise InputError(f"{where}: expected one of {', '.join(map(repr, arguments))}, found {reprlib.repr(value)}")
        return value
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _value(_alternative(arguments, value), value, where)
    if origin in (tuple, list):
        return _sequence(origin, arguments, value, where)
    if kind is float:
        return _finite(value, where)
    kind = origin or kind  # of a dict, whose content its user checks
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{where}: expected {kind.__name__}, found {reprlib.repr(value)}")
    return value


def _alternative(kinds: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401
    """Which kind of a union is meant: the sequence for a list, else the first that is none."""
    listed = isinstance(value, (list, tuple))
    kinds = tuple(kind for kind in kinds if kind is not type(None))
    return next((kind for kind in kinds if (typing.get_origin(kind) in (tuple, list)) == listed), kinds[0])


def _finite(value: Any, where: str) -> float:  # noqa: ANN401
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise InputError(f"{where}: expected float, found {reprlib.repr(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InputError(f"{where}: expected a finite number, found {number}")
    return number


def _sequence(origin: Any, arguments: tuple[Any, ...], value: Any, where: str) -> Any:  # noqa: ANN401
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{where}: expected a list, found {reprlib.repr(value)}")
    if origin is tuple and Ellipsis not in arguments and len(value) != len(arguments):
        raise InputError(f"{where}: expected {len(arguments)} values, found {len(value)}")
    kinds = [arguments[0]] * len(value) if origin is list or Ellipsis in arguments else arguments
    return origin(_value(each, item, f"{where}[{i}]") for i, (each, item) in enumerate(zip(kinds, value, strict=True)))
