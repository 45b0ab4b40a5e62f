"""Untrusted JSON becomes frozen dataclasses, or one line that names the field."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from one_line import refusal
from small_bundle import CONFIG

from clsdm.errors import InputError
from clsdm.files.strict_json import from_plain, to_plain
from clsdm.model.clsdm import ModelConfig
from clsdm.xray.read import GeometryOverrides


@dataclass(frozen=True)
class Inner:
    size: int
    name: str = "a"

    def __post_init__(self) -> None:
        if self.size < 0:
            raise InputError(f"size: expected at least 0, got {self.size}")
        if self.size > 9:
            raise ValueError("at most 9")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    pair: tuple[float, float] = (0.0, 0.0)
    many: tuple[int, ...] = ()
    listed: list[str] = field(default_factory=list)
    mode: Literal["x", "y"] = "x"
    length: float | tuple[float, float] | None = None
    flag: bool = False


def refused(data: Any) -> str:
    message = refusal(from_plain, Outer, data, "f.json")
    assert message.startswith("f.json")
    return message


def test_what_was_written_is_read_back_through_json():
    assert from_plain(ModelConfig, json.loads(json.dumps(to_plain(CONFIG))), "x") == CONFIG


def test_fields_with_defaults_may_be_left_out_and_whole_numbers_serve_as_floats():
    found = from_plain(Outer, {"inner": {"size": 3}, "pair": [1, 2.5]}, "x")
    assert found == Outer(Inner(3), (1.0, 2.5))
    assert all(isinstance(value, float) for value in found.pair)


@pytest.mark.parametrize(("given", "expected"), [(0.5, 0.5), (2, 2.0), ([0.5, 0.7], (0.5, 0.7)), (None, None)])
def test_a_union_takes_each_of_its_kinds(given, expected):
    assert from_plain(Outer, {"inner": {"size": 3}, "length": given}, "x").length == expected
    assert from_plain(GeometryOverrides, {"pixel_mm": given}, "x").pixel_mm == expected


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"extra": 1}, "f.json.extra: unknown field"),
        ({"inner": {"size": 3, "colour": 1}}, "f.json.inner.colour: unknown field"),
        ({"inner": {}}, "f.json.inner.size: missing"),
        ({"inner": 3}, "f.json.inner: expected an object"),
        ({"inner": {"size": 1.5}}, "f.json.inner.size: expected int, found 1.5"),
        ({"inner": {"size": True}}, "f.json.inner.size: expected int, found True"),
        ({"inner": {"size": 1, "name": None}}, "f.json.inner.name: expected str, found None"),
        ({"pair": [1.0]}, "f.json.pair: expected 2 values, found 1"),
        ({"pair": 1.0}, "f.json.pair: expected a list"),
        ({"pair": [1.0, "b"]}, "f.json.pair[1]: expected float, found 'b'"),
        ({"pair": [1.0, True]}, "f.json.pair[1]: expected float, found True"),
        ({"many": [1, 2.0]}, "f.json.many[1]: expected int"),
        ({"listed": "abc"}, "f.json.listed: expected a list"),
        ({"mode": "z"}, "f.json.mode: expected one of 'x', 'y', found 'z'"),
        ({"length": "long"}, "f.json.length: expected float, found 'long'"),
        ({"length": [1.0, 2.0, 3.0]}, "f.json.length: expected 2 values, found 3"),
        ({"length": float("nan")}, "f.json.length: expected a finite number"),
        ({"length": float("inf")}, "f.json.length: expected a finite number"),
        ({"length": 10**400}, "f.json.length: expected a finite number"),
        ({"flag": 1}, "f.json.flag: expected bool, found 1"),
    ],
)
def test_a_field_that_does_not_fit_is_named_with_its_path(changes, named):
    assert named in refused({"inner": {"size": 1}} | changes)


def test_what_is_not_an_object_is_refused():
    assert "expected an object" in refused([1, 2])


@pytest.mark.parametrize(("size", "reason"), [(-1, "expected at least 0"), (10, "at most 9")])
def test_a_value_the_class_itself_refuses_is_placed_in_the_file(size, reason):
    message = refused({"inner": {"size": size}})
    assert message.startswith("f.json.inner: ")
    assert reason in message
