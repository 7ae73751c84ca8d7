"The fast path: equal to torch's autograd for many nets and batches, over whole runs, in memory that is taken once."

import copy

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_walkthrough import SGD, DataLoader, cross_entropy, mlp
from mnist_walkthrough.gradients import HandLearner
from mnist_walkthrough.learner import Learner, Recorder, StopOnNonFinite
from mnist_walkthrough.metric import accuracy
from mnist_walkthrough.net import max_difference
from mnist_walkthrough.speed import (
    FastLearner,
    FastNet,
    against,
    in_turn,
    quartiles,
    show_ratios,
)

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6}  # of the largest value
FLAT, WIDE = (6, 4), (6, 31, 65, 1, 33, 4)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def batch(n, n_in=6, n_out=4, seed=0, dtype=torch.float64):
    return random(n, n_in, seed=seed, dtype=dtype), (torch.arange(n) + seed) % n_out


def close(ours, theirs, largest=0.0):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    largest = max(largest, theirs.abs().max().item())
    assert (ours - theirs).abs().max().item() <= BOUNDS[ours.dtype] * largest


def agrees(fast, model, x, y):
    "Loss and gradients of the fast net are those of autograd."
    twin = copy.deepcopy(model)
    twin.zero_grad()
    loss = F.cross_entropy(twin(x), y)
    loss.backward()
    close(fast(x, y), loss.detach())
    theirs = [p.grad for p in twin.parameters()]
    largest = max(grad.abs().max().item() for grad in theirs if grad is not None)
    for p, grad in zip(model.parameters(), theirs, strict=True):
        if grad is None:
            assert p.grad is None
        else:
            close(p.grad, grad, largest)


def frozen():
    net = nn.Sequential(nn.Linear(6, 5, bias=False), nn.ReLU(), nn.Linear(5, 4))
    net[2].weight.requires_grad_(False)
    return net


def one_relu_twice():
    relu = nn.ReLU()
    return nn.Sequential(nn.Linear(6, 5), relu, nn.Linear(5, 5), relu, nn.Linear(5, 4))


NETS = {
    "ours": lambda: mlp(6, 30, 4),
    "flat": lambda: mlp(*FLAT),
    "deep and odd": lambda: mlp(*WIDE),
    "torch's": lambda: nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 4)),
    "frozen, without bias": frozen,
    "two linear layers in a row": lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4)),
    "one ReLU twice": one_relu_twice,
    "ReLU twice in a row": lambda: nn.Sequential(
        nn.Linear(6, 5), nn.ReLU(), nn.ReLU(), nn.Linear(5, 4)
    ),
    "ReLU at the end": lambda: nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.ReLU()),
}


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("multiple", [1, 8, 32])
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
def test_gradients_are_autograd_s_for_batches_that_differ_in_length(net, multiple, dtype):
    torch.manual_seed(0)
    model = net().to(dtype)
    fast = FastNet(model, 9, multiple)
    for seed, n in enumerate((9, 9, 2, 9, 1)):
        agrees(fast, model, *batch(n, seed=seed, dtype=dtype))


def test_weights_that_change_between_steps_are_seen():
    model = mlp(6, 5, 4).double()
    fast = FastNet(model, 9, 32)
    agrees(fast, model, *batch(9))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(-2).add_(1)
    agrees(fast, model, *batch(9))
    model.load_state_dict(mlp(6, 5, 4).double().state_dict())
    agrees(fast, model, *batch(9))


def test_logits_of_any_size():
    model = mlp(6, 5, 4).double()
    fast = FastNet(model, 9, 32)
    x, y = batch(9)
    for scale in (1e-6, 1e3, 1e6):
        agrees(fast, model, scale * x, y)


@pytest.mark.parametrize("dtype", BOUNDS)
def test_bytes_count_as_pixels_from_0_to_1(dtype):
    model = mlp(784, 30, 10).to(dtype)
    xb = torch.randint(256, (64, 784), generator=torch.Generator().manual_seed(0)).byte()
    y = torch.arange(64) % 10
    loss = FastNet(model, 64, 32)(xb, y)
    ours = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    theirs = F.cross_entropy(model(xb.to(dtype) / 255), y)
    theirs.backward()
    close(loss, theirs.detach())
    for grad, p in zip(ours, model.parameters(), strict=True):
        close(grad, p.grad)


def test_gradients_are_written_to_the_same_memory_each_time():
    model = mlp(6, 5, 4).double()
    fast = FastNet(model, 9, 32)
    places = []
    for seed in range(3):
        fast(*batch(9, seed=seed))
        places.append([p.grad.data_ptr() for p in model.parameters()])
        model.zero_grad()
    assert places[0] == places[1] == places[2]


def test_what_it_is_given_stays_as_it_is():
    model = mlp(6, 5, 4).double()
    x, y = batch(9)
    given = [t.clone() for t in (x, y, *model.parameters())]
    FastNet(model, 9, 32)(x, y)
    assert all(map(torch.equal, given, (x, y, *model.parameters())))


@pytest.mark.parametrize(
    ("net", "said"),
    [
        (nn.Linear(6, 4), "Sequential only, not Linear"),
        (nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4)), "no rule for Tanh"),
        (nn.Sequential(nn.ReLU(), nn.Linear(6, 4)), "must be a Linear"),
    ],
)
def test_another_model_is_named(net, said):
    with pytest.raises(TypeError, match=said):
        FastNet(net, 9, 32)


def test_a_model_without_parameters_is_refused():
    with pytest.raises(ValueError, match="no parameter can lower the loss"):
        FastNet(nn.Sequential(), 9, 32)


def tied():
    net = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6))
    net[2].weight = net[0].weight
    return net


@pytest.mark.parametrize(
    "net",
    [
        lambda: nn.Sequential(*[nn.Linear(6, 6)] * 2),
        lambda: nn.Sequential(nn.Linear(6, 6), *[nn.Linear(6, 6)] * 2, nn.Linear(6, 6)),
        tied,
    ],
    ids=["one layer twice", "one layer twice in the middle", "one weight twice"],
)
def test_a_parameter_that_is_used_twice_is_refused(net):
    with pytest.raises(TypeError, match="used twice"):
        FastNet(net(), 9, 32)


def test_layers_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="gives 5 numbers, the next takes 4"):
        FastNet(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(4, 4)), 9, 32)


@pytest.mark.parametrize("target", [[0, 4], [0, -1]])
def test_targets_that_are_no_class(target):
    with pytest.raises(RuntimeError):
        FastNet(mlp(6, 5, 4).double(), 2, 32)(random(2, 6), torch.tensor(target))


def test_rows_of_another_width():
    with pytest.raises(RuntimeError):
        FastNet(mlp(6, 5, 4).double(), 9, 32)(random(9, 7), torch.arange(9) % 4)


def test_another_loss_is_refused():
    net = mlp(6, 5, 4)
    learner = FastLearner([batch(3)], [], net, SGD(net.parameters(), 1), F.nll_loss)
    with pytest.raises(ValueError, match="cross_entropy only"):
        learner.fit(1, progress=False)


# whole runs

X = torch.randint(256, (300, 20), generator=torch.Generator().manual_seed(1)).byte()
Y = (X[:, :10].float() + 40 * random(300, 10, dtype=torch.float32)).argmax(1)


def trained(learner, x, sizes=(20, 30, 10), optimizer=SGD, batch_size=64, callbacks=()):
    "20 epochs, the last batch of each shorter than the others."
    floats = x if x.is_floating_point() else (x.to(torch.float64) / 255)
    net = mlp(*sizes, generator=torch.Generator().manual_seed(0)).to(floats.dtype)
    order = torch.Generator().manual_seed(0)
    dl = DataLoader((x, Y), batch_size, shuffle=True, generator=order)
    made = learner(
        dl,
        [(floats, Y)],
        net,
        optimizer(net.parameters(), 0.5),
        cross_entropy,
        [accuracy],
        callbacks=callbacks,
    )
    made.fit(20, progress=False)
    return made


def by_torch(x, sizes=(20, 30, 10)):
    "The same run with torch alone."
    ours = mlp(*sizes, generator=torch.Generator().manual_seed(0)).to(x.dtype)
    layers = []
    for n_in, n_out in zip(sizes, sizes[1:], strict=False):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    net = nn.Sequential(*layers[:-1]).to(x.dtype)
    net.load_state_dict(ours.state_dict())
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    order = torch.Generator().manual_seed(0)
    for _ in range(20):
        for i in torch.randperm(len(x), generator=order).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[i]), Y[i]).backward()
            optimizer.step()
    return net


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-14), (torch.float32, 2e-6)])
@pytest.mark.parametrize("sizes", [(20, 30, 10), (20, 10), (20, 33, 7, 10)], ids=str)
def test_a_whole_run_is_torch_s(sizes, dtype, bound):
    x = X.to(dtype) / 255
    fast, slow = trained(FastLearner, x, sizes), trained(Learner, x, sizes)
    assert max_difference(fast.model, by_torch(x, sizes)) <= bound
    for ours, theirs in zip(fast.history, slow.history, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1000 * bound)
        assert ours["accuracy"] == theirs["accuracy"]
    assert fast.history[-1]["train_loss"] < 0.9 * fast.history[0]["train_loss"]


def test_a_whole_run_from_bytes():
    fast = trained(FastLearner, X, batch_size=64)
    assert max_difference(fast.model, by_torch(X.double() / 255)) <= 1e-14


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD], ids=str)
def test_other_optimizers_see_the_same_gradients(optimizer):
    x = X.double() / 255
    made = [
        trained(learner, x, optimizer=lambda p, _: optimizer(p, 0.01), callbacks=[Recorder()])
        for learner in (FastLearner, HandLearner)
    ]
    assert max_difference(made[0].model, made[1].model) <= 1e-12
    for kept in ("losses", "gradients"):
        ours, theirs = (getattr(learner.callbacks[0], kept) for learner in made)
        assert ours == pytest.approx(theirs, rel=1e-9)


def test_batches_may_grow_within_an_epoch():
    net = mlp(6, 5, 4).double()
    twin = copy.deepcopy(net)
    batches = [batch(n, seed=n) for n in (2, 9, 4)]
    for learner, model in ((FastLearner, net), (Learner, twin)):
        learner(batches, batches, model, SGD(model.parameters(), 0.1), cross_entropy).fit(
            2, progress=False
        )
    assert max_difference(net, twin) <= 1e-15


def test_another_model_may_be_put_in_its_place():
    batches = [batch(9)]
    first, second = mlp(6, 5, 4).double(), mlp(6, 7, 4).double()
    learner = FastLearner(batches, batches, first, SGD(first.parameters(), 0.1), cross_entropy)
    learner.fit(1, progress=False)
    learner.model, learner.optimizer = second, SGD(second.parameters(), 0.1)
    before = copy.deepcopy(first), copy.deepcopy(second)
    learner.fit(1, progress=False)
    assert max_difference(first, before[0]) == 0
    assert max_difference(second, before[1]) > 0


def test_a_fast_learner_calls_no_autograd_and_makes_its_net_once_an_epoch(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "backward", None)
    made = []
    monkeypatch.setattr(
        "mnist_walkthrough.speed.FastNet",
        lambda *args: made.append(args) or FastNet(*args),
    )
    trained(FastLearner, X)
    assert len(made) <= 20


def test_a_loss_that_is_not_finite_is_noticed():
    x = X.double() / 255
    x[7, 3] = torch.nan
    with pytest.raises(FloatingPointError, match="the loss is nan"):
        trained(FastLearner, x, callbacks=[StopOnNonFinite()])


def test_a_list_of_batches_of_bytes_holds_different_ones():
    loader = DataLoader((X, Y), 64, shuffle=True)
    batches = list(loader)
    rows = torch.cat([xb for xb, _ in batches])
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, X.tolist()))
    assert len({xb.data_ptr() for xb, _ in batches}) == len(batches)


# the clock


def test_ways_are_timed_in_turn_and_the_first_round_is_not_counted(monkeypatch):
    called, now = [], [0.0]
    monkeypatch.setattr("mnist_walkthrough.speed.time.perf_counter", lambda: now[0])

    def way(name, seconds):
        def run():
            called.append(name)
            now[0] += seconds + (1000 if len(called) <= 3 else 0)

        return run

    lengths = {"a": 1.0, "b": 2.0, "c": 4.0}
    times = in_turn({name: way(name, s) for name, s in lengths.items()}, 20)
    assert times == {name: [s] * 20 for name, s in lengths.items()}
    rounds = [called[i : i + 3] for i in range(0, len(called), 3)]
    assert len(rounds) == 21
    assert all(set(names) == set(lengths) for names in rounds)
    assert len(set(map(tuple, rounds))) > 1


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0], [5, 1, 4, 2], [0.3, 0.1, 7.0, 0.2, 0.25]])
def test_quartiles_are_numpys(values):
    assert quartiles(values) == pytest.approx(tuple(np.quantile(values, [0.25, 0.5, 0.75])))


def test_ratios_are_those_of_the_same_round():
    times = {"a": [2.0, 6.0, 9.0, 40.0, 5.0], "b": [1.0, 2.0, 9.0, 10.0, 10.0]}
    found = against(times, "b")
    assert list(found) == ["a", "b"]
    assert found["a"] == pytest.approx((1.0, 2.0, 3.0))
    assert found["b"] == (1.0, 1.0, 1.0)


def test_the_figure_of_ratios_names_each_way():
    fig = show_ratios({"ours": (0.4, 0.5, 0.6), "theirs": (0.9, 1.0, 1.1)}, "Title", "theirs")
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["ours", "theirs"]
    assert "theirs = 1" in ax.get_xlabel()
    plt.close(fig)
