"""Fixtures around ``small_bundle``; a test module takes them with ``pytest_plugins = ["small_fixtures"]``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_bundle import CENTRE_MM, small_bundle, small_phantom, small_xrays

from clsdm.model.bundle import Bundle
from clsdm.simulate import write_dx
from clsdm.volume.write import write_ct


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Threads cost such small networks far more than they give, above all beside other work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The small bundle, made once; not to be changed."""
    return small_bundle(tmp_path_factory.mktemp("small") / "bundle")


@pytest.fixture(scope="session")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ct.nii.gz and its frontal.dcm and lateral.dcm around ``CENTRE_MM``; not to be changed."""
    folder = tmp_path_factory.mktemp("films")
    ct = small_phantom(CENTRE_MM)
    write_ct(ct, folder / "ct.nii.gz")
    for name, xray in zip(("frontal", "lateral"), small_xrays(ct, centre_mm=CENTRE_MM), strict=True):
        write_dx(xray, folder / f"{name}.dcm")
    return folder
