"""Each function of the page on looking inside, against a library or an independent definition."""

import math
from itertools import product

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import MulticlassCalibrationError

from mnist_walkthrough.inspect import (
    activations,
    calibration_errors_by_chance,
    expected_calibration_error,
    grad_times_input,
    principal_axes,
    reliability,
    show_map,
    show_reliability,
    show_signed,
    show_top_losses,
    temperature,
    top_losses,
    worst_pairs,
)
from mnist_walkthrough.metric import binomial_interval
from mnist_walkthrough.net import mlp


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def answers():
    "Logits that are better than guessed, with their targets."
    g = seeded()
    target = torch.randint(10, (1000,), generator=g)
    logits = torch.randn(1000, 10, generator=g) + 2 * F.one_hot(target, 10)
    return logits.requires_grad_(), target


@pytest.fixture(autouse=True)
def no_figures_left():
    yield
    plt.close("all")


class Odd(nn.Module):
    "No `Sequential`, images in, dropout, batch norm, a layer that is used twice, one that is not used."

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.twice, self.out, self.unused = nn.ReLU(inplace=True), nn.Linear(4, 3), nn.ReLU()

    def forward(self, x):
        x = self.twice(self.norm(self.conv(x))).mean((2, 3))
        return self.out(self.twice(self.drop(x) - 0.1))


@pytest.fixture
def odd():
    torch.manual_seed(0)
    return Odd().train(), torch.randn(5, 1, 8, 8, generator=seeded())


def test_activations_are_what_the_layer_gives():
    net, x = mlp(6, 5, 4, 3, generator=seeded()), torch.randn(7, 6, generator=seeded(1))
    with torch.no_grad():
        first = F.relu(F.linear(x, net[0].weight, net[0].bias))
        second = F.linear(first, net[2].weight, net[2].bias)
    torch.testing.assert_close(activations(net, net[1], x), first, rtol=0, atol=1e-6)
    torch.testing.assert_close(activations(net, net[2], x), second, rtol=0, atol=1e-6)


def test_activations_of_any_model_in_eval_mode_leave_no_trace(odd):
    model, x = odd
    before = {name: t.clone() for name, t in model.state_dict().items()}
    a, b = (activations(model, model.twice, x) for _ in range(2))
    assert a.shape == (5, 4)
    assert torch.equal(a, b)
    assert not a.requires_grad
    assert (a >= 0).all()
    assert (activations(model, model.norm, x) < 0).any()  # not overwritten by the ReLU in place
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


def test_activations_of_a_layer_that_is_not_used(odd):
    model, x = odd
    for layer in (model.unused, nn.Linear(2, 2)):
        with pytest.raises(ValueError, match="does not use this (ReLU|Linear)"):
            activations(model, layer, x)


def test_hook_is_removed_when_the_model_fails(odd):
    model, _ = odd
    with pytest.raises(RuntimeError):
        activations(model, model.twice, torch.zeros(2, 2))
    assert not model.twice._forward_hooks


def test_worst_pairs_are_those_that_counting_finds(answers):
    logits, target = answers
    given = logits.argmax(1)
    counts = {
        (i, j): int(((target == i) & (given == j)).sum())
        for i, j in product(range(10), repeat=2)
        if i != j
    }
    expected = sorted(counts, key=lambda pair: (-counts[pair], pair))[:7]
    found = worst_pairs(logits, target, 7)
    assert [(p.true, p.answer) for p in found] == expected
    assert [p.times for p in found] == [counts[pair] for pair in expected]
    assert [p.n for p in found] == [int((target == i).sum()) for i, _ in expected]
    assert worst_pairs(logits, target) == found[:5]


def test_a_pair_says_how_sure_its_share_is():
    logits = F.one_hot(torch.tensor([0] * 85 + [1] * 15 + [1] * 20), 2).float()
    (pair,) = worst_pairs(logits, torch.tensor([0] * 100 + [1] * 20))
    assert str(pair) == "0 taken for 1: 15 of 100, 9% to 23%"  # Wilson's: 9.3 % to 23.3 %
    assert worst_pairs(torch.eye(3), torch.arange(3)) == []


def test_top_losses_are_the_largest_cross_entropies(answers):
    logits, target = answers
    losses = F.cross_entropy(logits, target, reduction="none")
    values, rows = top_losses(logits, target, 20)
    torch.testing.assert_close(values, losses.sort(descending=True).values[:20], atol=1e-6, rtol=0)
    torch.testing.assert_close(values, losses[rows], atol=1e-6, rtol=0)
    assert len(top_losses(logits[:3], target[:3])[0]) == 3
    assert len(top_losses(logits, target)[0]) == 10
    huge = torch.tensor([[1000.0, 0.0], [0.0, 1.0]])
    assert top_losses(huge, torch.tensor([1, 1]))[0][0] == 1000


@pytest.mark.parametrize("n_bins", [1, 7, 10, 15, 100])
def test_calibration_error_equals_torchmetrics(answers, n_bins):
    library = MulticlassCalibrationError(10, n_bins=n_bins, norm="l1")
    for scale in (0.1, 1, 10):
        scores = scale * answers[0].detach()
        ours = expected_calibration_error(scores, answers[1], n_bins)
        assert ours == pytest.approx(library(scores.softmax(1), answers[1]).item(), abs=1e-6)
        assert type(ours) is float


def test_reliability_counts_every_answer_once(answers):
    logits, target = answers
    count, right, confidence = reliability(logits, target)
    assert count.sum() == 1000
    assert right.sum() == (logits.argmax(1) == target).sum()
    p = logits.double().softmax(1).amax(1)
    assert float((count * confidence).sum()) == pytest.approx(p.sum().item())
    for k in range(10):
        inside = (p >= k / 10) & (p < (k + 1) / 10)
        assert count[k] == inside.sum()
    certain = reliability(torch.tensor([[0.0, 1000.0]]), torch.tensor([1]))
    assert certain.n.tolist() == [0] * 9 + [1]


def test_errors_by_chance_are_those_of_a_calibrated_net(answers):
    "The mean over one bin is |mean of n Bernoulli - p|, with a known expectation: that of a normal."
    logits = math.log(4) * F.one_hot(torch.zeros(400, dtype=torch.int64), 2)  # 80 % for class 0
    found = calibration_errors_by_chance(logits, 1, 400, seeded())
    expected = math.sqrt(0.8 * 0.2 / 400) * math.sqrt(2 / math.pi)
    assert found.mean().item() == pytest.approx(expected, rel=0.15)
    assert torch.equal(found, calibration_errors_by_chance(logits, 1, 400, seeded()))
    as_said = calibration_errors_by_chance(answers[0], 10, 200, seeded())
    assert torch.equal(calibration_errors_by_chance(answers[0], generator=seeded()), as_said)
    few = calibration_errors_by_chance(answers[0][:50], n_draws=20, generator=seeded())
    many = calibration_errors_by_chance(answers[0], n_draws=20, generator=seeded())
    assert few.mean() > 2 * many.mean()


@pytest.mark.parametrize("scale", [0.01, 1, 30])
def test_temperature_is_where_the_loss_is_smallest(answers, scale):
    logits, target = answers[0].detach().double() * scale, answers[1]
    t = temperature(logits, target)
    log_t = torch.zeros((), dtype=torch.float64, requires_grad=True)
    log_t.data += math.log(scale)
    search = torch.optim.LBFGS([log_t], max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

    def closure():
        search.zero_grad()
        loss = F.cross_entropy(logits / log_t.exp(), target)
        loss.backward()
        return loss

    search.step(closure)
    assert t == pytest.approx(log_t.exp().item(), rel=1e-6)
    for other in (0.99 * t, 1.01 * t):
        assert F.cross_entropy(logits / other, target) > F.cross_entropy(logits / t, target)


@pytest.mark.parametrize("end", [1e-4, 1e4])
def test_temperature_is_looked_for_as_far_as_it_says(answers, end):
    logits, target = answers[0].detach().double(), answers[1]
    best = temperature(logits, target)
    inside, outside = (logits * (end / best * d) for d in ((1.1, 0.9) if end < 1 else (0.9, 1.1)))
    assert temperature(inside, target) == pytest.approx(1.1 * end if end < 1 else 0.9 * end)
    with pytest.raises(ValueError, match="no temperature is best"):
        temperature(outside, target)


def test_temperature_where_none_is_best(answers):
    logits = answers[0].detach()
    for scores in (logits, -logits):
        target = logits.argmax(1)
        with pytest.raises(ValueError, match="no temperature is best"):
            temperature(scores, target)


@pytest.mark.parametrize(
    "function", [top_losses, reliability, expected_calibration_error, temperature]
)
@pytest.mark.parametrize(
    ("logits", "target"),
    [
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)),
        (torch.zeros(4, 3), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(4, 3), torch.zeros(4, 1, dtype=torch.int64)),
        (torch.zeros(4), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(2, 3), torch.tensor([0, 3])),
        (torch.zeros(2, 3), torch.tensor([-1, 0])),
        (torch.tensor([[0.0, math.nan]]), torch.tensor([0])),
        (torch.tensor([[0.0, math.inf]]), torch.tensor([0])),
        (torch.tensor([[-math.inf, -math.inf]]), torch.tensor([0])),
    ],
)
def test_what_does_not_fit_is_refused(function, logits, target):
    with pytest.raises(
        ValueError, match="a class for each row, and one at least|the classes are|no finite max"
    ):
        function(logits, target)


def test_contributions_are_gradients_of_each_row_times_input(odd):
    model, x = odd
    found = grad_times_input(model, x, torch.tensor([2, 0, 1, 1, 2]))
    assert all(module.training for module in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert not x.requires_grad
    assert not found.requires_grad
    model.eval()
    for i, k in enumerate([2, 0, 1, 1, 2]):
        jacobian = torch.autograd.functional.jacobian(model, x[i : i + 1])[0, k, 0]
        torch.testing.assert_close(found[i], jacobian * x[i], rtol=0, atol=1e-6)


def test_contributions_sum_to_the_logit_without_biases():
    net, x = mlp(20, 9, 4, generator=seeded()).double(), torch.rand(50, 20, generator=seeded(1))
    x = x.double()
    with torch.no_grad():
        net[0].bias.zero_()
        net[2].bias.zero_()
    answers = net(x).argmax(1)
    total = grad_times_input(net, x).sum(1)
    torch.testing.assert_close(total, net(x).amax(1).detach(), rtol=0, atol=1e-14)
    assert torch.equal(grad_times_input(net, x), grad_times_input(net, x, answers))
    half = grad_times_input(net, x, baseline=0.5)
    torch.testing.assert_close(half * x, grad_times_input(net, x) * (x - 0.5), rtol=0, atol=1e-15)


def test_axes_are_the_eigenvectors_of_the_covariance():
    points = torch.randn(200, 6, generator=seeded(), dtype=torch.float64)
    points = points @ torch.randn(6, 6, generator=seeded(1), dtype=torch.float64) + 3
    axes, share = principal_axes(points, 6)
    values, vectors = torch.linalg.eigh(points.T.cov())
    values, vectors = values.flip(0), vectors.flip(1).T
    torch.testing.assert_close(share, values / values.sum(), rtol=0, atol=1e-12)
    torch.testing.assert_close((axes * vectors).sum(1).abs(), torch.ones(6).double())
    assert (axes.gather(1, axes.abs().argmax(1, keepdim=True)) > 0).all()
    first, share_of_first = principal_axes(points)
    assert torch.equal(first, axes[:2])
    assert torch.equal(principal_axes(points, 1)[0], axes[:1])
    assert torch.equal(share_of_first, share[:2])
    torch.manual_seed(0)
    _, _, library = torch.pca_lowrank(points, q=6)
    torch.testing.assert_close((axes * library.T).sum(1).abs(), torch.ones(6).double())


@pytest.mark.parametrize("n_axes", [0, 4])
def test_axes_that_there_are_not(n_axes):
    with pytest.raises(ValueError, match=rf"have 1 to 3 axes; got \[5, 3\], {n_axes}"):
        principal_axes(torch.rand(5, 3), n_axes)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (-0.5, 1.0)])
def test_signed_pictures_share_a_scale_with_white_at_zero(low, high):
    images = torch.stack([torch.full((4,), v) for v in (low, 0.0, high)])
    show_signed(images.requires_grad_(), ["a", "b", "c"], n_cols=2)
    axes = plt.gcf().axes
    assert [ax.get_title() for ax in axes] == ["a", "b", "c", ""]
    assert not any(ax.axison for ax in axes)
    drawn = [ax.images[0] for ax in axes[:3]]
    assert {image.get_clim() for image in drawn} == {(-1.0, 1.0)}
    minus, zero, plus = (image.to_rgba(image.get_array())[0, 0] for image in drawn)
    assert minus[2] > minus[1]  # violet
    assert plus[0] > plus[2]  # orange
    assert min(zero[:3]) > 0.95


def test_top_losses_are_shown_with_what_was_said_and_what_was_right():
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.999, 0.001]])
    show_top_losses(torch.rand(3, 4, 4), p.log().requires_grad_(), torch.tensor([0, 0, 1]))
    titles = [ax.get_title() for ax in plt.gcf().axes]
    assert titles == ["0: 100%\n1: 0.1%", "1: 80%\n0: 20.0%", "0: 90%\n0: 90.0%"]


def test_reliability_picture_shows_every_bin(answers):
    logits, target = answers
    show_reliability({"one": logits, "two": 3 * logits}, target)
    upper, lower = plt.gcf().axes[:2], plt.gcf().axes[2:]
    for ax, below, scores in zip(upper, lower, (logits, 3 * logits), strict=True):
        count, right, confidence = reliability(scores, target)
        points = [line.get_xydata()[0].tolist() for line in ax.lines if line.get_marker() == "o"]
        filled = count > 0
        shares = right[filled].double() / count[filled]
        expected = torch.stack([confidence[filled], shares], 1)
        found = torch.tensor(points, dtype=torch.float64)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
        ends = [line.get_ydata().tolist() for line in ax.lines[1:] if line.get_marker() != "o"]
        counts = zip(right[filled].tolist(), count[filled].tolist(), strict=True)
        assert ends == [list(binomial_interval(*pair)) for pair in counts]
        assert [int(bar.get_height()) for bar in below.patches] == count.tolist()
    show_reliability({"alone": logits}, target, n_bins=3)
    upper, lower = plt.gcf().axes
    counts = [int(bar.get_height()) for bar in lower.patches]
    assert min(counts) > 0  # the first bin, too
    assert sum(line.get_marker() == "o" for line in upper.lines) == len(counts) == 3


def test_map_shows_every_point_by_its_class():
    points, labels = torch.rand(30, 2, requires_grad=True), torch.arange(30) % 12
    show_map(points, labels)
    (ax,) = plt.gcf().axes
    assert [len(group.get_offsets()) for group in ax.collections] == [3] * 6 + [2] * 6
    for k, group in enumerate(ax.collections):
        expected = points[labels == k].detach()
        torch.testing.assert_close(torch.tensor(group.get_offsets().data).float(), expected)
