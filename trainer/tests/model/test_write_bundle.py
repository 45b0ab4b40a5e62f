"""A bundle is written whole or not at all, the same from the same weights, and removed without what its links lead to."""

from dataclasses import replace

import pytest
from small_bundle import edited, random_weights, small_bundle, small_manifest

from clsdm.errors import InputError
from clsdm.model.bundle import (
    CARD,
    MANIFEST,
    WEIGHTS,
    Bundle,
    write_bundle,
)
from clsdm.model.bundle_files import remove_bundle


def test_writing_again_replaces_the_whole_bundle(tmp_path):
    first = small_bundle(tmp_path / "b")
    second = small_bundle(tmp_path / "b", weights=random_weights(seed=1))
    assert second.hash != first.hash
    assert Bundle.open(tmp_path / "b").hash == second.hash
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == sorted([MANIFEST, WEIGHTS, CARD])


def test_the_same_weights_make_the_same_files(small_model, tmp_path):
    again = small_bundle(tmp_path / "b")
    assert again.files == small_model.files
    assert again.read(MANIFEST) == small_model.read(MANIFEST)


def test_a_bundle_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot be written"):
        write_bundle(tmp_path / "file" / "b", small_manifest(), random_weights(), "card", {})
    (tmp_path / "b" / WEIGHTS).mkdir(parents=True)
    with pytest.raises(InputError, match=WEIGHTS):
        write_bundle(tmp_path / "b", small_manifest(), random_weights(), "card", {})
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["file", "b", WEIGHTS])


@pytest.mark.parametrize("name", [CARD, MANIFEST, WEIGHTS])
def test_a_bundle_takes_the_place_of_no_file_of_the_users(name, tmp_path):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=f"{name}: is there and was not written by this program"):
        small_bundle(tmp_path)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "{}")]


def test_a_manifest_that_cannot_be_opened_again_is_not_left_as_a_bundle(tmp_path):
    with pytest.raises(InputError, match="window_hu"):
        write_bundle(tmp_path / "b", replace(small_manifest(), window_hu=(0.0, 1.0)), random_weights(), "card", {})
    assert not (tmp_path / "b").exists()


def test_a_bundle_is_removed_without_what_a_link_in_it_leads_to(tmp_path):
    bundle = small_bundle(tmp_path / "b")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.txt").write_text("years of work")
    files = {name: vars(entry) for name, entry in bundle.files.items()}
    path = edited(bundle, tmp_path / "c", files=files | {"more/thesis.txt": {"sha256": "0" * 64, "bytes": 13}})
    (path / "more").symlink_to(tmp_path / "elsewhere")
    remove_bundle(path)
    assert (tmp_path / "elsewhere" / "thesis.txt").read_text() == "years of work"
    assert [each.name for each in path.iterdir()] == ["more"]
