"Adam, schedules and label smoothing are torch's; shifts, the split and the recipes do what they say."

import math
from collections import Counter
from functools import partial
from itertools import pairwise, product

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

from mnist_walkthrough import SGD, DataLoader, ImageDataset, Learner, cross_entropy, digits, mlp
from mnist_walkthrough.accuracy import (
    PLAIN,
    Adam,
    PixelLoader,
    Recipe,
    Schedule,
    Standardize,
    constant,
    cosine,
    fit,
    one_cycle,
    share_right,
    shift,
    smooth_cross_entropy,
    split_train,
    subset,
)
from mnist_walkthrough.net import max_difference


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def train(own_cache):
    return ImageDataset(digits() / "training")


def learner(train, optimizer, loss_fn=cross_entropy, callbacks=(), dtype=torch.float32):
    net = mlp(784, 30, 10, generator=seeded()).to(dtype)
    batches = DataLoader((train.x.to(dtype), train.y), 256, shuffle=True, generator=seeded(1))
    return Learner(batches, batches, net, optimizer(net.parameters()), loss_fn, callbacks=callbacks)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("options", "library"),
    [
        ({"lr": 0.003}, torch.optim.Adam),
        ({"lr": 0.003, "weight_decay": 0.1}, torch.optim.AdamW),
        ({"lr": 0.01, "betas": (0.5, 0.9), "eps": 1e-3}, torch.optim.Adam),
    ],
)
def test_adam_is_torchs_bit_for_bit_over_a_run(train, options, library, dtype):
    ours, theirs = (learner(train, partial(o, **options), dtype=dtype) for o in (Adam, library))
    for _ in range(5):
        ours.fit(1, progress=False)
        theirs.fit(1, progress=False)
        assert max_difference(ours.model, theirs.model) == 0


def test_weight_decay_is_adamws_and_not_adams(train):
    options = {"lr": 0.003, "weight_decay": 0.1}
    ours, theirs = (learner(train, partial(o, **options)) for o in (Adam, torch.optim.Adam))
    ours.fit(1, progress=False)
    theirs.fit(1, progress=False)
    assert max_difference(ours.model, theirs.model) > 1e-3


def test_adam_counts_the_steps_of_each_parameter():
    starts = [torch.ones(2), torch.ones(3)]
    params = [[w.clone().requires_grad_() for w in starts] for _ in range(2)]
    ours, theirs = Adam(params[0], lr=0.1), torch.optim.Adam(params[1], lr=0.1)
    for i in range(6):
        for p, q in zip(*params, strict=True):
            p.grad = torch.randn(p.shape, generator=seeded(i)) if len(p) == 2 or i % 2 else None
            q.grad = None if p.grad is None else p.grad.clone()
        ours.lr = theirs.param_groups[0]["lr"] = 0.1 / (1 + i)
        before = [None if p.grad is None else p.grad.clone() for p in params[0]]
        ours.step()
        theirs.step()
        assert all(torch.equal(p, q) for p, q in zip(*params, strict=True))
        assert all(
            g is None or torch.equal(p.grad, g) for p, g in zip(params[0], before, strict=True)
        )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"lr": -1}, "lr must be 0 or more, got -1"),
        ({"lr": 1, "eps": math.nan}, "eps must be 0 or more"),
        ({"lr": 1, "weight_decay": -0.1}, "weight_decay must be 0 or more"),
        (
            {"lr": 1, "betas": (0.9, 1.0)},
            r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)",
        ),
    ],
)
def test_adam_refuses(options, said):
    with pytest.raises(ValueError, match=said):
        Adam([torch.ones(1)], **options)


def torchs(scheduler, n, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = scheduler(optimizer, **options)
    for _ in range(n):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("n", [10, 101, 4000])
def test_schedules_are_torchs(n):
    def same(factor, rates):
        assert all(abs(factor(k / n) - rate) < 1e-13 for k, rate in enumerate(rates))

    same(cosine, torchs(lr_scheduler.CosineAnnealingLR, n, T_max=n))
    for warm_up in (0.3, 0.1):
        options = {"total_steps": n + 1, "pct_start": (warm_up * n + 1) / (n + 1)}
        rates = torchs(lr_scheduler.OneCycleLR, n, max_lr=1.0, final_div_factor=math.inf, **options)
        same(partial(one_cycle, warm_up=warm_up), rates)


def test_schedules_at_their_ends():
    assert (cosine(0), cosine(1)) == (1, 0)
    assert one_cycle(0) == pytest.approx(1 / 25)
    assert (one_cycle(0.3), one_cycle(1)) == (1, 0)
    assert {constant(t / 7) for t in range(8)} == {1.0}


class Rates:
    "An optimizer that remembers its rates."

    def __init__(self, params):
        self.lr, self.rates = None, []

    def step(self):
        self.rates.append(self.lr)

    def zero_grad(self):
        pass


def test_schedule_covers_all_epochs_and_goes_on_where_a_run_was_left(train):
    whole, halves = (learner(train, Rates, callbacks=[Schedule(cosine, lr=0.5)]) for _ in range(2))
    whole.fit(6, progress=False)
    assert whole.optimizer.rates == [0.5 * cosine(k / 24) for k in range(24)]
    halves.history = whole.history[:2]
    halves.fit(4, progress=False)
    assert halves.optimizer.rates == whole.optimizer.rates[8:]


def test_schedule_sets_all_groups_of_torchs_optimizers(train):
    def two_groups(params):
        first, *others = params
        return torch.optim.SGD([{"params": [first]}, {"params": others}], lr=7.0)

    run = learner(train, two_groups, callbacks=[Schedule(lambda t: 0.5, lr=0.1)])
    run.fit(1, progress=False)
    assert [group["lr"] for group in run.optimizer.param_groups] == [0.05, 0.05]


def test_schedule_needs_a_length(train):
    run = learner(train, partial(SGD, lr=0.1), callbacks=[Schedule(cosine, 0.1)])
    run.train_dl = iter(list(run.train_dl).__iter__, None)
    with pytest.raises(ValueError, match="train_dl needs a len"):
        run.fit(1, progress=False)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 1e-6)])
@pytest.mark.parametrize("s", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(("n", "k"), [(1, 10), (7, 2), (256, 10), (3, 1)])
def test_smooth_cross_entropy_is_torchs(n, k, s, dtype, bound):
    for scale in (1, 1000):
        logits = scale * torch.randn(n, k, generator=seeded(), dtype=dtype)
        logits.requires_grad_()
        y = torch.randint(k, (n,), generator=seeded())
        losses = smooth_cross_entropy(logits, y, s), F.cross_entropy(logits, y, label_smoothing=s)
        grads = [torch.autograd.grad(loss, logits)[0] for loss in losses]
        assert losses[0].dtype == dtype
        assert abs(losses[0] - losses[1]) <= bound * max(1, losses[1])
        assert (grads[0] - grads[1]).abs().max() <= bound


def test_smooth_cross_entropy_over_a_run(train):
    ours, theirs = (
        learner(train, partial(SGD, lr=0.1), partial(loss, **{name: 0.1}), dtype=torch.float64)
        for loss, name in (
            (smooth_cross_entropy, "smoothing"),
            (F.cross_entropy, "label_smoothing"),
        )
    )
    ours.fit(5, progress=False)
    theirs.fit(5, progress=False)
    assert max_difference(ours.model, theirs.model) < 1e-13


def test_smooth_cross_entropy_refuses():
    with pytest.raises(ValueError, match="smoothing is from 0 to 1, got 1.5"):
        smooth_cross_entropy(torch.zeros(1, 2), torch.tensor([0]), 1.5)
    with pytest.raises(ValueError, match="the classes are 0 to 1"):
        smooth_cross_entropy(torch.zeros(1, 2), torch.tensor([2]))


def test_standardize(train):
    layer = Standardize.of(train.images)
    out = layer(train.images)
    assert out.dtype == torch.float32
    assert abs(out.mean()) < 1e-4
    assert abs(out.std() - 1) < 1e-4
    torch.testing.assert_close(Standardize.of(train.x)(train.x), out.flatten(1), rtol=0, atol=1e-4)
    other = Standardize(0.0, 1.0)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(train.images), out)
    with pytest.raises(ValueError, match=r"std above 0, got \d+.0 and 0.0; are all pixels equal"):
        Standardize.of(torch.ones(5))


def test_split_parts_a_set(train):
    part, valid = split_train(train, n_valid=200, seed=3)
    assert (len(part), len(valid)) == (800, 200)
    both = torch.cat([part.images, valid.images]).flatten(1).tolist()
    assert Counter(map(tuple, both)) == Counter(map(tuple, train.images.flatten(1).tolist()))
    assert torch.equal(valid.x, valid.images.flatten(1).float() / 255)
    assert len(valid.y.bincount()) == 10
    again = split_train(train, n_valid=200, seed=3)
    assert torch.equal(split_train(train, 200)[1].images, split_train(train, 200, 0)[1].images)
    other = split_train(train, n_valid=200, seed=4)
    assert torch.equal(again[1].images, valid.images)
    assert not torch.equal(other[1].images, valid.images)
    assert len(train) == 1000
    for n in (0, 1000):
        with pytest.raises(ValueError, match=f"n_valid is from 1 to 999, got {n}"):
            split_train(train, n_valid=n)


def test_subset_has_its_own_rows(train):
    assert train.x.shape == (1000, 784)  # so that it is cached
    part = subset(train, torch.tensor([5, 3]))
    assert torch.equal(part.images, train.images[[5, 3]])
    assert torch.equal(part.x, train.x[[5, 3]])
    assert torch.equal(part.y, train.y[[5, 3]])


@pytest.mark.parametrize("steps", [(-1, 0, 0, 1), (0,), (2, -3), (1,)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("n", [0, 1, 35])
def test_shift(n, steps, dtype):
    images = torch.randint(1, 256, (n, 5, 7), generator=seeded()).to(dtype)
    before, moved = images.clone(), shift(images, steps)
    assert torch.equal(images, before)
    assert moved.dtype == dtype
    pairs = list(product(steps, steps))
    for k, (image, got) in enumerate(zip(images, moved, strict=True)):
        down, right = pairs[k % len(pairs)]
        assert torch.equal(got, F.pad(image, (right, -right, down, -down)))


@pytest.mark.parametrize("steps", [(), (0, 5), (-5,)])
def test_shift_refuses(steps):
    with pytest.raises(ValueError, match="steps are smaller than 5 x 7 pixels"):
        shift(torch.zeros(2, 5, 7), steps)


def test_pixel_loader(train):
    loader = PixelLoader(train, 300, generator=seeded())
    assert len(loader) == 4
    first, second = list(loader), list(loader)
    assert [len(xb) for xb, _ in first] == [300, 300, 300, 100]
    assert {(xb.dtype, xb.shape[1]) for xb, _ in first} == {(torch.uint8, 784)}
    assert not torch.equal(first[0][0], second[0][0])
    rows = {
        (tuple(x), int(y)) for x, y in zip(train.images.flatten(1).tolist(), train.y, strict=True)
    }
    for epoch in (first, second):
        seen = [
            (tuple(x), int(y)) for xb, yb in epoch for x, y in zip(xb.tolist(), yb, strict=True)
        ]
        assert len(seen) == 1000
        assert set(seen) == rows
    moved = next(iter(PixelLoader(train, 300, (-1, 0, 0, 1), generator=seeded())))
    assert torch.equal(moved[0].view(-1, 28, 28), shift(first[0][0].view(-1, 28, 28)))


def test_fit_learns_and_repeats(train):
    recipe = Recipe(n_hidden=12, n_epochs=10)
    net = fit(recipe, train, seed=1)
    assert [type(layer).__name__ for layer in net.children()] == [
        "Standardize",
        "Linear",
        "ReLU",
        "Linear",
    ]
    assert net[1].weight.shape == (12, 784)
    assert share_right(net, train) > 0.8
    assert max_difference(net, fit(recipe, train, seed=1)) == 0
    assert max_difference(net, fit(recipe, train, seed=2)) > 0.01


def test_every_field_of_a_recipe_counts(train):
    short = PLAIN._replace(n_epochs=2)
    changes = [
        {},
        {"n_epochs": 3},
        {"batch_size": 100},
        {"standardize": True},
        {"optimizer": "adam"},
        {"lr": 0.2},
        {"schedule": "cosine"},
        {"schedule": "one_cycle"},
        {"momentum": 0.9},
        {"weight_decay": 0.1},
        {"smoothing": 0.1},
        {"shifts": True},
    ]
    nets = [fit(short._replace(**change), train, seed=0) for change in changes]
    ends = sorted(float(net[1].weight.detach().double().square().sum()) for net in nets)
    assert all(b - a > 1e-6 for a, b in pairwise(ends))
    assert fit(short._replace(n_hidden=7), train, 0)[1].weight.shape == (7, 784)


def test_plain_is_the_walks_training(train):
    net = fit(PLAIN._replace(n_epochs=3), train, seed=0)
    walk = nn.Sequential(nn.Linear(784, 30), nn.ReLU(), nn.Linear(30, 10))
    walk.load_state_dict(mlp(784, 30, 10, generator=seeded()).state_dict())
    optimizer = torch.optim.SGD(walk.parameters(), lr=0.1)
    batches = DataLoader(train, 256, shuffle=True, generator=seeded())
    for _ in range(3):
        for xb, yb in batches:
            optimizer.zero_grad()
            F.cross_entropy(walk(xb), yb).backward()
            optimizer.step()
    assert max_difference(net, walk) < 1e-5


def test_share_right_is_a_share_of_all_rows(train):
    net = fit(PLAIN._replace(n_epochs=1), train, seed=0)
    part = subset(train, torch.arange(0, 1000, 7))
    right = net(part.images.flatten(1)).argmax(1) == part.y
    assert share_right(net, part) == pytest.approx(right.float().mean().item())
