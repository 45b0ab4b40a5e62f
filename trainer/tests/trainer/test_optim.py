"""Muon: matrices move along orthogonal directions, everything else as with AdamW."""

import pytest
import torch
from torch import nn

from clsdm_trainer.optim import NEWTON_SCHULZ, ROUNDS, Muon, orthogonal


@pytest.mark.parametrize("shape", [(12, 40), (40, 12), (16, 16)])
def test_an_orthogonal_direction_keeps_the_singular_vectors_and_evens_the_values(shape):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    core = left.T @ orthogonal(matrix) @ right.T  # diagonal where the singular vectors are the same
    assert float(core.diagonal().min()) > 0.4
    assert float(core.diagonal().max()) < 1.3
    assert float((core - core.diagonal().diag()).abs().max()) < 0.05


@pytest.mark.parametrize(("shape", "rank"), [((24, 80), 24), ((80, 24), 24), ((24, 80), 2)])
def test_rounds_on_the_square_are_the_rounds_on_the_matrix(shape, rank):
    """Also where most singular values are almost nothing, as those of a gradient are."""
    torch.manual_seed(0)
    matrix = torch.randn(shape[0], rank) @ torch.randn(rank, shape[1]) + 1e-5 * torch.randn(shape)
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    values = values / values.norm()
    a, b, c = NEWTON_SCHULZ
    for _ in range(ROUNDS):
        values = a * values + b * values**3 + c * values**5
    torch.testing.assert_close(orthogonal(matrix).double(), left @ values.diag() @ right, atol=1e-4, rtol=0)


def test_a_kernel_moves_as_the_matrix_from_its_inputs_to_its_output_channels():
    """First step: the update is the orthogonal direction of the gradient, scaled to AdamW's size."""
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.zeros(4, 2, 3, 3, 3))
    kernel.grad = torch.randn_like(kernel)
    expected = -0.1 * 0.2 * 54**0.5 * orthogonal(kernel.grad.flatten(1)).view_as(kernel)
    Muon([kernel], lr=0.1).step()
    torch.testing.assert_close(kernel.data, expected)
    assert float(kernel.data.square().mean().sqrt()) == pytest.approx(0.1 * 0.2, rel=0.3)


def test_biases_move_as_with_adamw():
    ours, theirs = (nn.Parameter(torch.arange(5.0)) for _ in range(2))
    settings = {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.3}
    optimisers = Muon([ours], **settings), torch.optim.AdamW([theirs], **settings)
    for _ in range(3):
        for parameter, optimiser in zip((ours, theirs), optimisers, strict=True):
            parameter.grad = parameter.detach().cos()
            optimiser.step()
    assert torch.equal(ours, theirs)


def test_a_restored_state_goes_on_to_the_same_bits():
    torch.manual_seed(0)
    network = nn.Conv3d(2, 4, 3).to(memory_format=torch.channels_last_3d)
    gradients = [[torch.randn_like(p) for p in network.parameters()] for _ in range(4)]

    def move(optimiser: Muon, chosen: list[list[torch.Tensor]]) -> None:
        for step in chosen:
            for parameter, gradient in zip(network.parameters(), step, strict=True):
                parameter.grad = gradient.clone()
            optimiser.step()

    first = Muon(network.parameters(), lr=0.1)
    move(first, gradients[:2])
    weights = {name: value.clone() for name, value in network.state_dict().items()}
    state = first.state_dict()
    kept = {
        **state,
        "state": {key: {k: v.clone().contiguous() for k, v in each.items()} for key, each in state["state"].items()},
    }
    move(first, gradients[2:])
    uncut = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(weights)
    second = Muon(network.parameters(), lr=0.1)
    second.load_state_dict(kept)
    move(second, gradients[2:])
    assert all(torch.equal(value, uncut[name]) for name, value in network.state_dict().items())
