"""Muon's steps are orthogonal, equal to torch's own, and taken by the layers between the first and the last."""

import pytest
import torch
from torch import nn

from course_lib.muon import Muon, hidden, orthogonal
from course_lib.nets.mlp import MLP
from course_lib.nets.unet import UNet
from course_lib.process import DDPM, seeded
from course_lib.schedules import cosine_beta
from course_lib.training import min_snr_times, one_cycle, train


@pytest.mark.parametrize("shape", [(16, 16), (16, 144), (128, 32), (1, 9)])
def test_all_singular_values_come_near_one(shape):
    matrix = 1e-4 * torch.randn(shape, generator=seeded(0), dtype=torch.float64)
    found = orthogonal(matrix, steps=5)
    assert found.shape == matrix.shape and orthogonal(1e6 * matrix, steps=5).allclose(found, atol=0.02)
    values = torch.linalg.svdvals(found)
    assert 0.3 < values.min() and values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert float((found * (u @ v)).sum() / found.norm() / (u @ v).norm()) > 0.95  # it points to the nearest orthogonal matrix


@pytest.mark.parametrize("shape", [(16, 144), (64, 32)])
def test_equal_to_torchs_own(shape):
    start = torch.randn(shape, generator=seeded(0))
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    steppers = Muon([ours], lr=0.02), torch.optim.Muon([theirs], lr=0.02, weight_decay=0.0, ns_steps=3)
    for step in range(5):
        gradient = torch.randn(shape, generator=seeded(step))
        for w, stepper in zip((ours, theirs), steppers):
            w.grad = gradient
            stepper.step()
    moved, expected = (w.detach() - start for w in (ours, theirs))
    assert float((moved - expected).norm() / expected.norm()) < 0.02  # theirs computes in bfloat16


def test_a_convolution_counts_as_a_matrix_of_its_outputs():
    kernel, matrix = nn.Parameter(torch.zeros(8, 4, 3, 3)), nn.Parameter(torch.zeros(8, 36))
    kernel.grad = torch.randn(8, 4, 3, 3, generator=seeded(0))
    matrix.grad = kernel.grad.flatten(1)
    Muon([kernel, matrix], lr=0.1).step()
    assert torch.equal(kernel.flatten(1), matrix) and kernel.norm() > 0


def test_training_gives_it_the_convolutions_between_the_first_and_the_last():
    def moved(muon):
        torch.manual_seed(0)
        net = UNet(8, 1, (8, 16), classes=0, dim=16)
        with torch.no_grad():
            for w in net.parameters():  # none is 0, so that all have a gradient
                w.add_(0.1)
        before = {name: w.detach().clone() for name, w in net.named_parameters()}
        x = torch.randn(4, 1, 8, 8, generator=seeded(0))
        list(train(lambda: (net(x, torch.rand(4, generator=seeded(1))) - x).square().mean(), net, 1, lr=1e-3, muon=muon))
        return {name: w.detach() - before[name] for name, w in net.named_parameters()}

    alone, both = moved(0.0), moved(0.5)
    kernels = [name for name, change in alone.items() if change.ndim == 4]
    assert kernels[0] == "inward.weight" and kernels[-1] == "outward.2.weight"
    for name, change in both.items():
        if name not in kernels[1:-1]:
            assert torch.equal(change, alone[name])
            continue
        size = change.flatten(1) / (0.5 * one_cycle(0.0) * max(1, change.shape[0] / change[0].numel()) ** 0.5)
        assert 0.5 < torch.linalg.svdvals(size)[0] < 1.3


def test_without_convolutions_it_is_for_the_linear_layers_between():
    net = MLP(dim=2, width=8, depth=1, classes=3)
    names = {id(w): name for name, w in net.named_parameters()}
    found = [names[id(w)] for w in hidden(net)]
    assert found == [
        "time.mlp.0.weight",
        "time.mlp.2.weight",
        *(f"blocks.0.{of}.weight" for of in ("modulate", "mlp.0", "mlp.2")),
    ]
    assert hidden(nn.Embedding(3, 4)) == [] == hidden(nn.Linear(2, 2))


def test_times_are_drawn_by_their_weight():
    process, n = DDPM(cosine_beta(1000)), 200_000
    t = min_snr_times(process, n, seeded(0), gamma=5.0)
    assert t.dtype == torch.int64 and t.min() == 1 and t.max() == 1000
    alpha_bar = process.alpha_bar(torch.arange(1, 1001))
    snr = alpha_bar / (1 - alpha_bar)
    weight = torch.minimum(snr, torch.tensor(5.0)) / (snr + 1)
    expected = 0.9 * weight / weight.sum() + 1e-4
    assert torch.allclose(
        torch.bincount(t, minlength=1001)[1:].double() / n, expected, atol=1e-5
    )  # stratified: far nearer than luck
    few = min_snr_times(process, 4, seeded(0))
    assert few.tolist() == sorted(few.tolist()) and torch.equal(few, min_snr_times(process, 4, seeded(0)))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: orthogonal(torch.zeros(3)), "matrix must be"),
        (lambda: Muon([torch.zeros(3)]), "weights must have two dimensions or more, got shape"),
        (lambda: Muon([torch.zeros(3, 3)], lr=0), "lr must be positive"),
        (lambda: Muon([torch.zeros(3, 3)], momentum=1.0), "momentum must lie in"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
