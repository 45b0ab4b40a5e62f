"""Every figure in the README stands in the embedded bundle, where the evaluation put it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from clsdm.model.bundle import CARD, Bundle, default_bundle_path
from clsdm_trainer.figures import figures_table

ROOT = Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.open(default_bundle_path())


def test_the_table_of_the_readme_is_the_one_measured_on_the_embedded_bundle(bundle: Bundle) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split(BEGIN)[1].split(END)[0].strip()
    assert table == figures_table(bundle.figures).strip()


def test_the_figures_of_the_embedded_bundle_were_measured_on_its_own_weights(bundle: Bundle) -> None:
    assert bundle.figures["about"]["model_sha256"] == bundle.hash
    assert bundle.figures["about"]["split"] == "test"


def test_the_model_card_says_what_it_must_not_be_used_for(bundle: Bundle) -> None:
    assert "Not a medical device" in bundle.read(CARD).decode("utf-8")


def test_the_embedded_bundle_is_small_enough_for_the_repository(bundle: Bundle) -> None:
    assert sum(entry.bytes for entry in bundle.files.values()) < 20_000_000


def test_every_relative_link_of_the_readme_leads_somewhere() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert len(links) > 5
    assert not [link for link in links if not (ROOT / link).exists()]


def test_every_file_that_the_page_for_developers_names_is_there() -> None:
    text = (ROOT / "trainer" / "docs" / "develop.md").read_text(encoding="utf-8")
    to_be_written = {"clsdm/xray/foo.py", "systems/mine.py"}
    inner = ("clsdm/xray", "clsdm_trainer", "clsdm_bench", "clsdm")
    library = ROOT / "CLSDMReconstruction"
    bases = [ROOT, ROOT / "trainer", ROOT / "trainer/docs", library, library / "CLSDMReconstructionLib"]
    bases += [ROOT / "trainer/src", *(ROOT / "trainer/src" / name for name in inner)]
    named = set(re.findall(r"[`(]([\w/]+\.(?:py|yaml|ui|txt|sh|md))[`)]", text)) - to_be_written
    assert len(named) > 15
    assert not [name for name in named if not any((base / name).is_file() for base in bases)]
