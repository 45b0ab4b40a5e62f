"""Training samples by number: the same sample wherever and beside whatever it is drawn."""

from collections import Counter

import numpy as np
import pytest
import torch
from tiny import GRID, MARGIN, tiny_config

from clsdm.volume.hu import hu_to_unit
from clsdm_trainer.batches import TrainingData, fixed_batches
from clsdm_trainer.config import AugmentConfig
from clsdm_trainer.data.store import Store

CPU = torch.device("cpu")


def training_data(store: Store, seed: int = 0, **augment: object) -> TrainingData:
    return TrainingData(store, tiny_config().model, AugmentConfig(**augment), seed, CPU)


def test_a_sample_does_not_depend_on_how_samples_are_batched(store):
    data = training_data(store, view_counts={2: 1.0})
    four = data.batch(1, 4, xrays=True)  # samples 4, 5, 6, 7
    pairs = [data.batch(2, 2, xrays=True), data.batch(3, 2, xrays=True)]
    assert torch.equal(four.unit, torch.cat([pair.unit for pair in pairs]))
    assert torch.equal(four.images, torch.cat([pair.images for pair in pairs]))
    assert torch.equal(four.normal(3), torch.cat([pair.normal(3) for pair in pairs]))
    assert torch.equal(four.uniform(), torch.cat([pair.uniform() for pair in pairs]))


def test_a_sample_is_the_same_when_asked_for_again_and_other_by_number_and_by_seed(store):
    data = training_data(store)
    again, other = training_data(store), training_data(store, seed=1)
    assert torch.equal(data.batch(3, 2, xrays=True).images, again.batch(3, 2, xrays=True).images)
    assert not torch.equal(data.batch(3, 2, xrays=False).unit, data.batch(4, 2, xrays=False).unit)
    assert not torch.equal(data.batch(3, 2, xrays=False).unit, other.batch(3, 2, xrays=False).unit)


def test_a_coarser_scan_shows_the_same_patient_in_the_same_pose(store):
    fine, coarse = (training_data(store, scan_factor=factor).batch(0, 2, xrays=True) for factor in (1, 2))
    assert coarse.unit.shape == fine.unit.shape
    for one, other in ((fine.unit, coarse.unit), (fine.images, coarse.images)):
        assert not torch.equal(one, other)
        assert np.corrcoef(one.flatten(), other.flatten())[0, 1] > 0.9


def test_the_poses_of_a_sample_are_the_same_with_and_without_x_rays(store):
    data = training_data(store)
    with_xrays, without = (data.batch(0, 2, xrays=xrays) for xrays in (True, False))
    assert torch.equal(with_xrays.unit, without.unit)
    assert without.images is None
    assert without.cameras is None


def test_each_epoch_visits_every_training_volume_once_in_its_own_order(store):
    data = training_data(store)
    epochs = [tuple(data.volume_index(3 * epoch + position) for position in range(3)) for epoch in range(20)]
    assert all(sorted(epoch) == [0, 1, 2] for epoch in epochs)
    assert len(set(epochs)) > 2


def test_only_training_patients_are_trained_on(store):
    data = training_data(store, exact_probability=1.0, shift_mm=0.0, flip_probability=0.0)
    inner = slice(MARGIN, MARGIN + GRID.size)
    known = [hu_to_unit(volume.float())[inner, inner, inner] for volume in store.stack("train")]
    seen = data.batch(0, 6, xrays=False).unit[:, 0]
    matches = [[float((unit - volume).abs().max()) < 1e-4 for volume in known].index(True) for unit in seen]
    assert Counter(matches) == {0: 2, 1: 2, 2: 2}


def test_view_counts_follow_their_weights_and_are_shared_by_a_micro_batch(store):
    data = training_data(store, view_counts={1: 0.5, 2: 0.3, 4: 0.2})
    drawn = Counter(data.view_count(micro) for micro in range(600))
    assert [drawn[count] / 600 for count in (1, 2, 4)] == pytest.approx([0.5, 0.3, 0.2], abs=0.08)
    micro = next(number for number in range(600) if data.view_count(number) == 4)
    batch = data.batch(micro, 2, xrays=True)
    assert batch.images.shape[:2] == (2, 4)
    assert batch.cameras.shape == (2, 4)


def test_training_x_rays_are_finite_and_in_range(store):
    data = training_data(store, radiograph_probability=1.0, drop_probability=0.5)
    for micro in range(6):
        images = data.batch(micro, 2, xrays=True).images
        assert images.isfinite().all()
        assert float(images[:, :, 0].abs().max()) <= 2.0
        assert set(images[:, :, 1].unique().tolist()) <= {0.0, 1.0}


def test_validation_batches_are_the_volumes_as_they_are_frontal_and_lateral(store):
    (batch,) = fixed_batches(store, tiny_config().model, "val", 4, CPU)
    inner = slice(MARGIN, MARGIN + GRID.size)
    expected = hu_to_unit(store.stack("val")[0].float())[inner, inner, inner]
    torch.testing.assert_close(batch.unit[0, 0], expected, rtol=0, atol=2e-5)
    source = batch.cameras.source[0]
    assert np.allclose(source[0], (0.0, 1600.0, 0.0), atol=1e-2)  # PA: from behind
    assert np.allclose(source[1], (-1600.0, 0.0, 0.0), atol=1e-2)  # left lateral: from the right


def test_validation_batches_do_not_depend_on_their_size(store):
    model = tiny_config().model
    whole = fixed_batches(store, model, "train", 8, CPU)
    parts = fixed_batches(store, model, "train", 2, CPU)
    assert [len(batch.unit) for batch in parts] == [2, 1]
    assert torch.equal(whole[0].images, torch.cat([batch.images for batch in parts]))
    assert torch.equal(whole[0].normal(5), torch.cat([batch.normal(5) for batch in parts]))
