"""Pictures and the report: orientation, colours, notice, and a page that needs nothing but itself."""

import base64
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from clsdm import NOTICE
from clsdm.quality import picture, report
from clsdm.quality.agreement import Reprojection
from clsdm.quality.compare import compare
from clsdm.quality.comparison import Comparison
from clsdm.quality.write import comparison_picture, write_comparison
from clsdm.volume.ct import CTVolume, Grid

EVIL = '<script>alert("1")</script>&'


@pytest.fixture
def truth() -> CTVolume:
    """A water block in air."""
    hu = np.full((16, 16, 16), -1000.0)
    hu[2:14, 4:12, 3:13] = 0.0
    return CTVolume.on_grid(hu, Grid(16, 10.0))


@pytest.fixture
def comparison(truth: CTVolume) -> Comparison:
    """With truth and one view."""
    ramp = np.linspace(-1.0, 1.0, 32 * 32).reshape(32, 32)
    view = Reprojection(f"/data/{EVIL}.png", 0.0, 0.1, 0.99, ramp, ramp + 0.1, ramp * 0 + 0.1)
    return replace(compare(replace(truth, hu=truth.hu + 30.0), truth), reprojections=(view,))


def brightest(rgb: np.ndarray) -> tuple[bool, bool]:
    """Whether the middle of the white pixels lies in the (right, upper) half."""
    row, col = np.argwhere((rgb > 250).all(-1)).mean(0)
    return bool(col > rgb.shape[1] / 2), bool(row < rgb.shape[0] / 2)


@pytest.mark.parametrize(
    ("plane", "right", "upper"), [("axial", True, True), ("coronal", True, True), ("sagittal", False, True)]
)
def test_planes_are_shown_in_radiological_orientation(plane: str, right: bool, upper: bool) -> None:
    hu = np.full((16, 16, 16), -1000.0)
    hu[10:13, 3:6, 10:13] = 1000.0  # superior, anterior, left
    tiles = {t.caption: t for t in picture.plane_tiles(hu, (5.0, 5.0, 5.0), (11, 4, 11), picture.HU_PAINTER)}
    assert brightest(tiles[plane].rgb) == (right, upper)


def test_the_aspect_is_that_of_the_patient_and_not_of_the_voxels() -> None:
    image = picture.resized(np.zeros((10, 40)), (4.0, 1.0), 2.0)
    assert image.shape == (80, 80)


def test_interpolation_keeps_a_linear_ramp_linear() -> None:
    ramp = np.tile(np.arange(8.0), (3, 1))
    wide = picture.resized(ramp, (1.0, 1.0), 4.0)[0]
    np.testing.assert_allclose(np.diff(wide[2:-2]), 0.25)


def test_slices_go_through_the_middle_of_the_body() -> None:
    body = np.zeros((20, 20, 20), bool)
    body[2:7, 10:15, 14:19] = True
    assert picture.centre_index(body) == (4, 12, 16)
    assert picture.centre_index(np.zeros((20, 20, 20), bool)) == (10, 10, 10)


def test_differences_run_from_blue_through_white_to_red_and_unknown_is_grey() -> None:
    limit = picture.DIFFERENCE_LIMIT_HU
    colours = picture.DIFFERENCE_PAINTER(np.array([[-2 * limit, -limit, 0.0, limit, np.nan]]))[0].tolist()
    assert colours[:4] == [[0, 0, 255], [0, 0, 255], [255, 255, 255], [255, 0, 0]]
    assert len(set(colours[4])) > 1
    assert max(colours[4]) < 140


def test_the_picture_carries_the_research_notice(comparison: Comparison) -> None:
    rgb = picture.sheet(report.rows_of(comparison), report.headline(comparison))
    alone = np.full((40, rgb.shape[1], 3), picture._SHADE, np.uint8)
    picture.write_text(alone, NOTICE, 0, 12, colour=picture._ALARM, size=picture._HEADING)
    drawn = (alone != picture._SHADE).any(-1)
    rows, cols = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    assert cols[-1] < rgb.shape[1] - 12, "the whole notice fits"
    assert drawn.sum() > 2000
    found = rgb[8 + rows[0] : 9 + rows[-1], cols[0] : cols[-1] + 1]
    np.testing.assert_array_equal(found, alone[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1])


def test_a_row_has_a_bar_of_its_colours_with_numbers_beside_its_tiles() -> None:
    tile = picture.Tile("axial", np.zeros((picture.TILE_PIXELS,) * 2 + (3,), np.uint8))
    plain, barred = (
        picture.sheet([picture.Row("Row", (tile,), paint=paint)]) for paint in (None, picture.DIFFERENCE_PAINTER)
    )
    assert barred.shape[1] > plain.shape[1]
    beside = barred[60:, plain.shape[1] :]  # below the notice
    colours = [tuple(colour) for colour in beside[:, 4].tolist() if colour != list(picture._SHADE)]
    assert (colours[0], colours[-1]) == ((255, 0, 0), (0, 0, 255))
    assert min(colours[len(colours) // 2]) > 250, "white in the middle"
    assert (beside[:, 20:] != picture._SHADE).any(-1).sum() > 100, "the numbers"


def test_a_name_is_drawn_in_letters_that_the_font_has() -> None:
    def drawn(text: str) -> bytes:
        page = np.zeros((30, 300, 3), np.uint8)
        picture.write_text(page, text, 0, 0)
        return page.tobytes()

    assert drawn("Müller, Zoë 山田 5×5") == drawn("Muller, Zoe ?? 5x5")
    assert drawn("±5°") != drawn("?5?")


def test_text_is_cut_at_the_edge_and_changes_nothing_beside_it() -> None:
    page = np.zeros((30, 60, 3), np.uint8)
    picture.write_text(page[5:, 10:], "wide as a picture may be", 0, 0)
    assert page[5:, 10:].any()
    assert not page[:5].any()
    assert not page[:, :10].any()


def test_the_rows_are_truth_reconstruction_difference_and_x_rays(comparison: Comparison) -> None:
    rows = report.rows_of(comparison)
    assert [row.title.split()[0] for row in rows] == ["Truth", "Reconstruction", "Difference:", "X-ray"]
    assert [tile.caption for tile in rows[0].tiles] == ["axial", "coronal", "sagittal"]
    assert [tile.caption for tile in rows[3].tiles] == ["input X-ray", "reprojected", "difference"]


def test_the_difference_is_reconstruction_minus_truth(comparison: Comparison) -> None:
    too_dense = replace(comparison.recon, hu=comparison.recon.hu + 400.0)
    axial = report.rows_of(replace(comparison, recon=too_dense))[2].tiles[0].rgb
    assert axial[200, 160].tolist()[0] == 255  # red
    assert axial[200, 160].tolist()[2] < 100


@pytest.mark.parametrize(("angle_deg", "edges"), [(0.0, "RLSI"), (90.0, "APSI"), (-90.0, "PASI"), (180.0, "LRSI")])
def test_x_rays_are_marked_with_the_sides_of_the_patient(angle_deg: float, edges: str) -> None:
    assert report._projection_edges(angle_deg) == edges


class Page(HTMLParser):
    """Collects the tags, the attributes and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def page(comparison: Comparison, tmp_path: Path) -> Page:
    """A whole report with hostile strings everywhere."""
    warned = replace(comparison, warnings=(EVIL,))
    provenance = {EVIL: EVIL, "bundle": {"id": EVIL}, "steps": 4}
    return Page(write_comparison(warned, tmp_path, provenance, title=EVIL)[2].read_text())


def test_the_report_refers_to_nothing_outside_itself(page: Page) -> None:
    links = [value for name, value in page.attributes if name in ("src", "href", "srcset", "action")]
    assert len(links) == 12
    assert all(link.startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"url\(|@import|https?:", page.text)


def test_the_pictures_in_the_report_are_real(page: Page, tmp_path: Path) -> None:
    link = next(value for name, value in page.attributes if name == "src")
    (tmp_path / "one.png").write_bytes(base64.b64decode(link.split(",")[1]))
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "one.png")))
    assert image.shape == (picture.TILE_PIXELS, picture.TILE_PIXELS, 3)
    assert image.std() > 10


def test_strings_from_outside_are_text_and_never_markup(page: Page) -> None:
    assert "script" not in page.tags
    assert page.text.count("alert") >= 5  # title, heading, warning, provenance


def test_the_report_names_protocols_ranges_and_provenance(page: Page) -> None:
    for words in (NOTICE, "honest: data range 2500 HU, peak 2500 HU", "x2ct: data range 2500 HU, peak 4095 HU"):
        assert words in page.text
    assert re.search(r"Mean absolute error, inside the body\s*30.0 HU", page.text)
    assert re.search(r"Steps for each sample\s*4", page.text)


def test_every_figure_of_both_protocols_has_a_label(comparison: Comparison) -> None:
    figures = set(comparison.scores.honest) | set(comparison.scores.x2ct)
    assert figures - set(report._LABELS) == {"protocol", "data_range_hu", "peak_hu", "ssim_data_range"}


def test_an_undefined_figure_says_why(truth: CTVolume, tmp_path: Path) -> None:
    text = Page(write_comparison(compare(truth, truth), tmp_path)[2].read_text()).text
    assert re.search(r"PSNR, whole cube\s*infinite", text)
    assert re.search(r"bone \(above 300 HU\)\s*not defined", text)


def test_without_truth_there_is_a_report_without_figures(comparison: Comparison, tmp_path: Path) -> None:
    paths = write_comparison(replace(comparison, scores=None), tmp_path)
    text = Page(paths[2].read_text()).text
    assert "No true CT was given" in text
    assert "The images agree closely" in text
    assert "Protocol" not in text
    assert paths[1].stat().st_size > 1000


def test_what_all_intervals_share_is_said_once_and_a_gap_beside_a_number_has_its_reason(comparison: Comparison) -> None:
    few = {"patients": 2, "held": {}, "normal": {"80": [1.0, 2.0]}}
    values = {key: {"value": 1.5, "intervals": few} for key in ("lung_ml", "heart_width_mm")}
    measures = dict(comparison.measures) | {
        "values": values,
        "not_measurable": {},
        "calibrated": True,
        "product": "mean",
    }
    assert comparison.true is not None
    true = replace(comparison.true, values={"heart_width_mm": 1.0}, reasons={"lung_ml": "cut <off>"})
    told = replace(comparison, measures=measures, true=true)
    html = report.html(told, report.rows_of(told), {}, "title")
    assert html.count("only if errors are normal") == 1
    assert html.count("not measurable in the CT, cut &lt;off&gt;: Lung volume, both<") == 1


def test_a_picture_that_travels_alone_says_that_its_volume_is_not_to_be_trusted(comparison: Comparison) -> None:
    (good,) = comparison.reprojections
    bad = replace(good, correlation=0.2, angle_deg=90.0)
    doubted = replace(comparison, reprojections=(good, bad))
    assert report.alarm(comparison) == []
    assert report.alarm(doubted) == ["Do not trust this volume: it disagrees with X-ray 2 (left lateral)"]
    picture_of = [comparison_picture(each) for each in (replace(comparison, reprojections=(good, good)), doubted)]
    assert picture_of[1].shape[0] == picture_of[0].shape[0] + picture._LINE
    assert (picture_of[1][44:66] == picture._ALARM).all(-1).sum() > 300
    assert [row.title.partition(", residual")[0] for row in report.rows_of(doubted)[-2:]] == [
        "X-ray 1, PA: agree closely",
        "X-ray 2, left lateral: disagree",
    ]


def test_figures_have_one_name_in_picture_and_report(comparison: Comparison) -> None:
    assert all("mean absolute error 30.0 HU" in line for line in report.headline(comparison))


def test_how_it_was_made_is_said_in_words_and_of_each_x_ray_in_a_column(comparison: Comparison) -> None:
    view = {
        "angle_deg": 0.0,
        "source_axis_mm": 1600.0,
        "pixel_mm": [0.5, 0.25],
        "rows": 64,
        "beam": "cone",
        "new": EVIL,
    }
    origins = {"angle_deg": "user", "source_axis_mm": "default", "pixel_mm": "tag", "orientation": "default"}
    views = [view | {"origins": origins}, view | {"angle_deg": 90.0}]
    provenance = {
        "notice": NOTICE,
        "model_sha256": "ab",
        "seed": None,
        "product": "mean",
        "consistency": False,
        "views": views,
    }
    html = report.html(comparison, report.rows_of(comparison), provenance, "title")
    text = re.sub("<[^>]*>", "|", html[html.index("How it was made") :])
    for said in ("SHA-256 of the model's weights|", "Product||posterior mean|", "Corrected by its X-rays||no|",
                 "X-ray 1, PA||X-ray 2, left lateral|", "0° (entered)||90°|", "1600 mm (assumed)||1600 mm|",
                 "0.5, 0.25 mm (file)||0.5, 0.25 mm|", "Orientation||assumed|||", "alert("):  # fmt: skip
        assert said.replace("'", "&#x27;") in text, said
    assert not [raw for raw in ("model_sha256", "Seed", "None", "{", NOTICE) if raw in text]
    odd = report.html(comparison, report.rows_of(comparison), {"views": [3], "product": ["mean"], "seed": "x"}, "title")
    assert "<td>[3]</td>" in odd or "<td>3</td>" in odd
