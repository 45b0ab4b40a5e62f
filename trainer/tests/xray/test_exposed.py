"""What is no tissue is found in the pixels: unexposed borders, letters; and which way the grey scale runs."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from torso import PIXEL_MM, TOP, dicom, picture, torso

from clsdm.errors import in_full
from clsdm.xray.exposed import bars, border_is_denser, burnt_in, convex_hull, covered_border, unexposed_border
from clsdm.xray.read import GeometryOverrides, read_xray

FIELDS = {
    "a rectangle": [(40, 25), (170, 25), (170, 180), (40, 180)],
    "a turned rectangle": [(30, 20), (170, 35), (158, 185), (18, 170)],
    "a rectangle to two edges": [(0, 0), (150, 0), (150, 170), (0, 170)],
    "an octagon": [(60, 20), (140, 20), (180, 60), (180, 140), (140, 180), (60, 180), (20, 140), (20, 60)],
}


def inside(outline: list[tuple[int, int]]) -> np.ndarray:
    """(200, 200) bool: the pixels in a polygon of (column, row)."""
    image = Image.new("1", (200, 200))
    ImageDraw.Draw(image).polygon(outline, fill=1)
    return np.array(image)


@pytest.mark.parametrize("shape", FIELDS)
def test_an_unexposed_border_is_left_out_and_its_share_is_said(tmp_path, shape):
    field = inside(FIELDS[shape])
    noise = np.random.default_rng(0).integers(0, 20, field.shape)
    pixels = np.where(field, torso(), 4095 - noise).astype(np.uint16)
    xray = read_xray(dicom(pixels)(tmp_path))
    assert (xray.valid & ~field).sum() == 0
    assert (xray.valid & field).sum() > 0.96 * field.sum()
    share = 1.0 - field.mean()
    assert any(
        f"left out: {share:.1%} of the image, an unexposed or covered border" in warning for warning in xray.warnings
    )


@pytest.mark.parametrize("value", [0, 150, 4095])
@pytest.mark.parametrize("shape", [name for name in FIELDS if "rectangle" in name])
def test_a_border_that_a_shutter_painted_is_left_out_whatever_its_value(tmp_path, shape, value):
    field = inside(FIELDS[shape])
    xray = read_xray(dicom(np.where(field, torso() // 2 + 300, value).astype(np.uint16))(tmp_path))
    assert (xray.valid & ~field).sum() == 0
    assert (xray.valid & field).sum() > 0.96 * field.sum()
    assert any("unexposed or covered border" in warning for warning in xray.warnings)
    np.testing.assert_array_equal(xray.image[xray.valid], (torso() // 2 + 300)[xray.valid])


def test_a_round_field_is_found():
    row, col = np.mgrid[:200, :200]
    field = (row - 100) ** 2 + (col - 95) ** 2 < 85**2
    white = unexposed_border(np.where(field, torso(), TOP).astype(np.float32), np.ones_like(field))
    black = covered_border(np.where(field, torso() + 100.0, 0.0))
    for border in (white, black):
        assert border is not None
        assert (border & field).sum() < 0.02 * field.sum()
        assert (~border & ~field).sum() < 0.02 * (~field).sum()


@pytest.mark.parametrize("part", [slice(None), slice(60, 200), slice(0, 120)])
def test_a_patient_before_air_has_no_border_whichever_way_the_grey_scale_runs(part):
    for image in (torso()[part].astype(np.float32), -torso()[part].astype(np.float32)):
        assert unexposed_border(image, np.ones(image.shape, dtype=bool)) is None
        assert covered_border(image) is None


def test_letters_are_left_out_and_do_not_set_the_grey_scale(tmp_path):
    canvas = Image.new("L", (200, 200))
    ImageDraw.Draw(canvas).text((150, 6), "L 4711", font_size=14, fill=255)
    letters = np.array(canvas) > 128
    pixels = np.where(letters, 4095, torso() // 2).astype(np.uint16)
    xray = read_xray(dicom(pixels)(tmp_path))
    assert xray.image[xray.valid].max() <= TOP // 2
    assert not xray.valid[letters].any()
    assert (~xray.valid).mean() < 0.05
    assert any("burnt-in letters" in warning for warning in xray.warnings)
    unmarked = read_xray(dicom(pixels, BurnedInAnnotation="NO")(tmp_path))
    assert unmarked.valid is None


def test_a_bar_inside_the_image_is_left_out(tmp_path):
    pixels = torso() // 2
    pixels[20:60, 3:90] = 4095
    xray = read_xray(dicom(pixels)(tmp_path))
    assert not xray.valid[20:60, 3:90].any()
    assert (~xray.valid).sum() < 1.15 * 40 * 87


def test_dense_bone_is_no_letter():
    image = torso().astype(np.float32)
    bright = np.minimum(image, 0.9 * image.max())  # a saturated spine
    assert burnt_in(bright, np.ones(bright.shape, dtype=bool)) is None


@pytest.mark.parametrize("kind", [None, "XA", "RF"])
def test_a_rim_denser_than_the_body_is_said_or_followed(tmp_path, kind):
    tags = {} if kind is None else {"Modality": kind}
    xray = read_xray(dicom(TOP - torso(), **tags)(tmp_path))
    assert np.corrcoef(xray.image.ravel(), torso().ravel())[0, 1] == pytest.approx(-1.0 if kind is None else 1.0)
    said = "the rim of the image is denser than the body" if kind is None else "dark was found in the pixels"
    assert any(said in warning and "invert" in in_full(warning) for warning in xray.warnings)
    right = read_xray(dicom(TOP - torso(), **tags)(tmp_path), overrides=GeometryOverrides(invert=True))
    assert np.corrcoef(right.image.ravel(), torso().ravel())[0, 1] == pytest.approx(1.0)
    assert not any("invert" in warning for warning in right.warnings)


def test_fluoroscopy_without_a_word_is_taken_to_have_dark_bone_where_the_pixels_do_not_tell(tmp_path):
    row, col = np.mgrid[:110, :110]
    inner = (2000 + 900 * np.sin(row / 9) * np.sin(col / 7) + row).astype(np.uint16)
    xray = read_xray(dicom(inner, Modality="RF", ImagerPixelSpacing=[3.0, 3.0])(tmp_path))
    assert border_is_denser(inner.astype(np.float32)) is None
    assert np.corrcoef(xray.image.ravel(), inner.ravel())[0, 1] == pytest.approx(-1.0)
    assert any("dark was assumed; else give --no-invert" in in_full(warning) for warning in xray.warnings)


def drawing() -> np.ndarray:
    return np.repeat(np.repeat(np.random.default_rng(0).integers(0, 8, (20, 20)) * 32, 10, 0), 10, 1).astype(np.uint8)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (drawing(), "a drawing or a test pattern, no X-ray"),
        (np.tile(np.linspace(0, 255, 200), (200, 1)).astype(np.uint8), "a test pattern, no X-ray"),
    ],
)
def test_a_test_pattern_is_said_to_be_one(tmp_path, pixels, says):
    path = picture("x.png", lambda: pixels)(tmp_path)
    xray = read_xray(path, 0.0, GeometryOverrides(pixel_mm=PIXEL_MM))
    assert any(says in warning for warning in xray.warnings)


@pytest.mark.parametrize(
    ("part", "said"), [("HAND", True), ("CHEST", False), ("CHEST_TO_PELVIS", False), (None, False)]
)
def test_another_part_of_the_body_is_said(tmp_path, part, said):
    warnings = read_xray(dicom(BodyPartExamined=part)(tmp_path)).warnings
    assert any("knows trunks only" in warning for warning in warnings) == said


def test_an_image_of_no_trunks_size_is_said(tmp_path):
    warnings = read_xray(dicom(ImagerPixelSpacing=[0.5, 0.5])(tmp_path)).warnings
    assert any("the image covers 89 x 89 mm of the patient" in warning for warning in warnings)
    assert not any("covers" in warning for warning in read_xray(dicom()(tmp_path)).warnings)


def test_a_convex_hull_holds_what_lies_between_and_nothing_else():
    mask = np.zeros((60, 80), dtype=bool)
    for row, col in ((10, 10), (10, 60), (50, 35)):
        mask[row, col] = True
    hull = convex_hull(mask)
    assert hull.sum() == pytest.approx(0.5 * 50 * 40, rel=0.06)
    assert hull[mask].all()
    assert hull[30, 35]
    assert not hull[45, 12]


@pytest.mark.parametrize(
    ("rows", "columns", "tags"),
    [
        ((40, 160), (30, 170), {}),
        (
            (28, 200),
            (0, 200),
            {"WindowCenter": 1050, "WindowWidth": 2100, "PresentationIntentType": "FOR PRESENTATION"},
        ),
    ],
    ids=["white border", "bar above the window"],
)
def test_what_is_painted_over_is_missing_and_nothing_else(tmp_path, rows, columns, tags):
    """Exactly the film whose shutter tag names the painted pixels: more is not in the file."""
    film, field = torso() // 2, np.zeros((200, 200), dtype=bool)
    field[slice(*rows), slice(*columns)] = True
    sides = ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")
    first_and_last = (rows[0] + 1, rows[1], columns[0] + 1, columns[1])
    edges = {f"Shutter{side}Edge": at for side, at in zip(sides, first_and_last, strict=True)}
    said = read_xray(dicom(film, ShutterShape="RECTANGULAR", **edges)(tmp_path))
    painted = read_xray(dicom(np.where(field, film, 4095).astype(np.uint16), **tags)(tmp_path))
    np.testing.assert_array_equal(said.valid, field)
    np.testing.assert_array_equal(painted.valid, field)
    np.testing.assert_array_equal(painted.image[field], said.image[field])


@pytest.mark.parametrize("turn", [0, 1])
def test_bars_that_fill_a_window_up_are_left_out_though_they_are_black_as_air(tmp_path, turn):
    """Air beside the patient is clipped to the bars' value, so that they are no border around a rectangle."""
    film = np.maximum(torso().astype(int) - 300, 0).astype(np.uint16)[40:140]
    shown, field = (np.rot90(np.pad(each, ((9, 13), (0, 0))), turn) for each in (film, np.ones(film.shape, dtype=bool)))
    xray = read_xray(dicom(np.ascontiguousarray(shown))(tmp_path))
    np.testing.assert_array_equal(xray.valid, field)
    assert any(f"left out: {22 / 122:.1%} of the image" in warning for warning in xray.warnings)
    assert read_xray(dicom(np.ascontiguousarray(shown), BurnedInAnnotation="NO")(tmp_path)).valid is None


def test_air_above_a_patient_is_no_bar():
    assert bars(np.maximum(torso().astype(np.float32) - 300.0, 0.0)) is None
