"""Rows that no table is complete without: what any method must beat, and the ceiling that none can pass."""

from collections.abc import Sequence

import numpy as np
import torch

from clsdm.geometry.view import Detector
from clsdm.model.clsdm import CLSDM
from clsdm.volume.ct import CTVolume
from clsdm.volume.hu import hu_to_unit, unit_to_hu
from clsdm.xray.preprocess import XRay, preprocess
from clsdm_bench.patients import Method, Patient, canonical
from clsdm_trainer.data.store import Store


def shuffled(patients: Sequence[Patient]) -> list[Patient]:
    """Every truth with the X-rays of the next patient: a method that reads its input must get much worse."""
    return [
        Patient(patient.case, patient.truth, patient.covered, other.xrays, other.held_out)
        for patient, other in zip(patients, [*patients[1:], patients[0]], strict=True)
    ]


def population_mean(store: Store) -> Method:
    """The mean training CT, whatever the X-rays show."""
    cases = [case for case in store.cases("train") if case.split == "train"]
    total = sum((canonical(store, case).hu.astype(np.float64) for case in cases), np.zeros((store.grid.size,) * 3))
    mean = CTVolume.on_grid(total / len(cases), store.grid)
    return lambda xrays: mean


def nearest_patient(train: Sequence[Patient], detector: Detector) -> Method:
    """The CT of these patients whose X-rays look most alike on the virtual detector."""

    def seen(xrays: Sequence[XRay]) -> torch.Tensor:
        return torch.stack([preprocess(xray, detector)[0][0] for xray in xrays])

    images = [seen(patient.xrays) for patient in train]

    def nearest(xrays: Sequence[XRay]) -> CTVolume:
        own = seen(xrays)
        return train[int(np.argmin([float((own - other).square().mean()) for other in images]))].truth

    return nearest


@torch.inference_mode()
def round_trip(model: CLSDM, ct: CTVolume) -> CTVolume:
    """A CT through the autoencoder: its ceiling, the one row that is given the CT."""
    device = next(model.parameters()).device
    unit = model.decode(model.encode(hu_to_unit(torch.from_numpy(ct.hu))[None, None].to(device)))
    return CTVolume.on_grid(unit_to_hu(unit)[0, 0].cpu().numpy(), model.config.grid)
