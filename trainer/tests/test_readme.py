"""Every figure in the README and in the documents stands where a command put it, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

from clsdm.model.bundle import CARD, Bundle, embedded_bundles
from clsdm_trainer.figures import figures_table

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "trainer" / "README.md", *sorted((ROOT / "trainer" / "docs").glob("*.md"))]


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_figures_of_the_readme_are_those_of_the_scored_table() -> None:
    scored = (ROOT / "trainer" / "docs" / "benchmark.md").read_text(encoding="utf-8").splitlines()
    heads = next(cells(line) for line in scored if line.startswith("| method | PSNR dB"))
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    mine, _, *rows = (
        text.split("<!-- score-short:begin -->")[1].split("<!-- score-short:end -->")[0].strip().splitlines()
    )
    assert len(rows) >= 4
    for row in rows:
        name, *figures = cells(row)
        whole = dict(zip(heads, next(cells(line) for line in scored if line.startswith(f"| {name} |")), strict=True))
        assert figures == [whole[head] for head in cells(mine)[1:]]


@pytest.mark.parametrize("name", embedded_bundles())
def test_the_readme_leads_to_the_card_of_every_embedded_model(name: str) -> None:
    assert f"](Resources/Models/{name}/{CARD})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_can_be_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("name", embedded_bundles())
def test_the_figures_of_an_embedded_bundle_were_measured_on_its_own_weights_and_stand_in_its_card(name):
    bundle = Bundle.open(name)
    assert bundle.figures["about"]["model_sha256"] == bundle.hash
    assert bundle.figures["about"].get("split", "test") == "test"  # clsdm-bench score names none
    assert figures_table(bundle.figures).strip() in bundle.read(CARD).decode("utf-8")


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_of_a_document_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]
