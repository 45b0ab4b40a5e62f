"""Fixtures that several test modules share, and the same arithmetic on every machine."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from places import AIR_HU, BALL_HU, BOX_HU, REPOSITORY, TISSUE_HU

from clsdm.model import bundle_files
from clsdm.model.bundle import Bundle
from clsdm.volume.ct import CTVolume, Grid


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """The order of floating-point sums depends on the number of threads; and on tensors this small a second one only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Every test starts from the same random state, whichever tests ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # libraries under test may draw from the global generator


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real scans and radiographs, described in its README.md; never part of the repository."""
    folder = Path(os.environ.get("CLSDM_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"needs real data: no folder {folder} (CLSDM_SHARED_DATA names another)")
    return folder


@pytest.fixture
def asymmetric_phantom() -> CTVolume:
    """A body in which every flip and every swap of axes shows.

    A soft-tissue ellipsoid (semi-axes 130, 90, 160 mm along x, y, z) in air on a 64³ grid of 6 mm, with a bright ball
    at the patient's left, anterior and superior, and a smaller, denser box at the right, posterior and inferior.
    """
    grid = Grid(64, 6.0)
    axis_mm = (np.arange(grid.size) - (grid.size - 1) / 2) * grid.spacing_mm
    z, y, x = np.meshgrid(axis_mm, axis_mm, axis_mm, indexing="ij")  # LPS: +x left, +y posterior, +z superior
    hu = np.where((x / 130) ** 2 + (y / 90) ** 2 + (z / 160) ** 2 < 1, TISSUE_HU, AIR_HU)
    hu[(x - 55) ** 2 + (y + 35) ** 2 + (z - 70) ** 2 < 24**2] = BALL_HU
    hu[(abs(x + 60) < 14) & (abs(y - 30) < 14) & (abs(z + 80) < 14)] = BOX_HU
    return CTVolume.on_grid(hu, grid)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of ``small_bundle``, made once; not to be changed."""
    from small_bundle import small_bundle

    return small_bundle(tmp_path_factory.mktemp("small") / "bundle")


@pytest.fixture(scope="module")
def small_default(small_model: Bundle) -> Iterator[None]:
    """In this process the small model is the embedded default, for what does not ask how good a model is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bundle_files, "embedded_bundles", lambda: {"small": small_model.path})
        yield


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ct.nii.gz and its frontal.dcm and lateral.dcm around ``CENTRE_MM``; not to be changed."""
    from small_bundle import CENTRE_MM, small_phantom, small_xrays

    from clsdm.simulate import write_dx
    from clsdm.volume.write import write_ct

    folder = tmp_path_factory.mktemp("films")
    ct = small_phantom(CENTRE_MM)
    write_ct(ct, folder / "ct.nii.gz")
    for name, xray in zip(("frontal", "lateral"), small_xrays(ct, centre_mm=CENTRE_MM), strict=True):
        write_dx(xray, folder / f"{name}.dcm")
    return folder


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory):
    """The store of ``tiny``, made once; not to be changed."""
    from tiny import tiny_store

    return tiny_store(tmp_path_factory.mktemp("store"))
