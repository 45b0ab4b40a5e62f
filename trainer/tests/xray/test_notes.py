"""Notes on a pair of X-rays: few lines, in the reader's words."""

import pytest

from clsdm.xray.notes import gathered, left_out

A, B = "a.png", "b.png"


@pytest.mark.parametrize(
    ("notes", "lines"),
    [
        ([(A, "odd"), (B, "odd")], ("both X-rays: odd",)),
        ([(A, "odd"), (B, "other")], ("a.png: odd", "b.png: other")),
        ([(A, "image: 8 bits"), (B, "image: 8 bits"), (A, "image: lossy")], ("image: 8 bits (both X-rays); lossy (a.png)",)),
        ([(A, "assumed: x"), (A, "odd"), (A, "image: y"), (A, "image: z")],
         ("a.png: odd", "image: y, z (a.png)", "assumed: x (a.png)")),
    ],
)  # fmt: skip
def test_what_holds_for_both_is_said_once_and_one_line_says_all_of_a_kind(notes, lines):
    assert gathered(notes, 2) == lines


def test_a_single_x_ray_is_named_and_three_are_all():
    assert gathered([(A, "odd")], 1) == ("a.png: odd",)
    assert gathered([(each, "odd") for each in (A, B, "c.png")], 3) == ("all X-rays: odd",)


def test_what_rounds_to_nothing_is_no_news():
    assert left_out(0.0004, "marks") == ()
    assert left_out(0.0006, "marks") == ("left out: 0.1% of the image, marks",)
