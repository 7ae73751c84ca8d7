import io
import sys
import time

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from mnist_walkthrough import (
    SGD,
    Callback,
    DataLoader,
    EarlyStop,
    Learner,
    Recorder,
    StopOnNonFinite,
    accuracy,
    cross_entropy,
    mlp,
    plot_history,
)
from mnist_walkthrough.learner import epoch_row, load_split, train_with
from mnist_walkthrough.net import max_difference


def learner(callbacks=(), net=None, loss_fn=cross_entropy, lr=0.1, seed=0):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.rand(50, 6, generator=g), torch.arange(50) % 3
    net = net or mlp(6, 5, 3, generator=g)
    train_dl = DataLoader((x, y), 16, shuffle=True, generator=g)
    valid_dl = DataLoader((x[:20], y[:20]), 8)
    return Learner(
        train_dl, valid_dl, net, SGD(net.parameters(), lr), loss_fn, [accuracy], callbacks
    )


class Log(Callback):
    def __init__(self):
        self.calls = []

    def before_fit(self, learner):
        self.calls.append("before_fit")

    def before_step(self, learner):
        self.calls.append("before_step")
        assert learner.xb.shape[0] == len(learner.yb)
        assert all(p.grad is not None for p in learner.model.parameters())
        assert learner.model.training

    def after_epoch(self, learner):
        self.calls.append("after_epoch")

    def after_fit(self, learner):
        self.calls.append("after_fit")


def test_hooks_are_called_in_order():
    log = Log()
    learner([log]).fit(2, progress=False)
    epoch = ["before_step"] * 4 + ["after_epoch"]
    assert log.calls == ["before_fit", *epoch, *epoch, "after_fit"]


def test_callbacks_are_kept_not_shared():
    log, other = Log(), Log()
    given = [log]
    fitted = learner(given)
    given.append(other)
    fitted.fit(1, progress=False)
    once = learner(each for each in [log])
    for _ in range(2):
        once.fit(1, progress=False)
    assert log.calls.count("after_fit") == 3
    assert other.calls == []


def test_two_fits_are_one_long_one():
    once, twice = learner(), learner()
    once.fit(5, progress=False)
    twice.fit(2, progress=False)
    twice.fit(3, progress=False)
    assert max_difference(once.model, twice.model) == 0
    drop = [{k: v for k, v in row.items() if k != "seconds"} for row in twice.history]
    assert drop == [{k: v for k, v in row.items() if k != "seconds"} for row in once.history]
    assert [row["epoch"] for row in twice.history] == [1, 2, 3, 4, 5]


def test_history_tells_the_truth():
    fitted, start = learner(), time.perf_counter()
    fitted.fit(3, progress=False)
    assert 0 < sum(row["seconds"] for row in fitted.history) < time.perf_counter() - start
    last = fitted.history[-1]
    x, y = (torch.cat(t) for t in zip(*fitted.valid_dl, strict=True))
    logits = fitted.predict(x)
    assert last["valid_loss"] == pytest.approx(cross_entropy(logits, y).item(), rel=1e-6)
    assert last["accuracy"] == pytest.approx(accuracy(logits, y).item(), abs=1e-7)
    assert fitted.validate() == {k: last[k] for k in ("valid_loss", "accuracy")}
    assert set(last) == {"epoch", "train_loss", "valid_loss", "accuracy", "seconds"}


def test_train_loss_is_weighted_by_count():
    "With rate 0 the mean over an epoch is the loss of the whole set, though the last batch has 2 rows."
    still = learner(lr=0.0)
    still.fit(1, progress=False)
    x, y = still.train_dl.dataset.tensors
    expected = cross_entropy(still.predict(x), y).item()
    assert still.history[0]["train_loss"] == pytest.approx(expected, rel=1e-6)


class Modes(nn.Module):
    "Notes in which mode, and with gradients or not, it is asked."

    def __init__(self):
        super().__init__()
        self.inner, self.seen = nn.Linear(6, 3), set()

    def forward(self, x):
        self.seen.add((self.training, torch.is_grad_enabled()))
        return self.inner(x)


def test_modes_and_gradients():
    net = Modes()
    fitted = learner(net=net)
    fitted.fit(1, progress=False)
    assert net.seen == {(True, True), (False, False)}
    assert net.training
    net.seen.clear()
    fitted.predict(torch.rand(1, 6))
    assert net.training
    net.eval()
    fitted.predict(torch.rand(1, 6))
    assert not net.training
    assert net.seen == {(False, False)}
    assert torch.is_grad_enabled()


class Interrupt(Callback):
    def __init__(self, at):
        self.at = at

    def before_step(self, learner):
        self.at -= 1
        if self.at == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 4, 5, 7])
def test_an_interrupt_leaves_a_learner_that_goes_on(at):
    log = Log()
    interrupted = learner([log, Interrupt(at)])
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(9, progress=False)
    assert log.calls[-1] == "after_fit"
    assert len(interrupted.history) == (at - 1) // 4
    interrupted.fit(2, progress=False)
    assert len(interrupted.history) == (at - 1) // 4 + 2
    assert len(interrupted.callbacks) == 2


def test_an_interrupted_gradient_is_not_used_again():
    "The step after an interrupt is that of a learner which never saw the interrupted batch."
    interrupted, fresh = learner([Interrupt(1)], lr=1.0), learner(lr=1.0)
    with pytest.raises(KeyboardInterrupt):
        interrupted.fit(1, progress=False)
    batch = next(iter(fresh.train_dl))
    for one in (interrupted, fresh):
        one.train_dl = [batch]
        one.fit(1, progress=False)
    assert max_difference(interrupted.model, fresh.model) == 0


def test_early_stop_stops_after_patience():
    class Worse(Callback):
        def after_epoch(self, learner):
            learner.history[-1]["valid_loss"] = [5.0, 3.0, 4.0, 3.5, 1.0][len(learner.history) - 1]

    stopped = learner([Worse(), EarlyStop(patience=2)])
    stopped.fit(5, progress=False)
    assert len(stopped.history) == 4


def test_early_stop_takes_nan_for_no_improvement():
    class Given(Callback):
        def after_epoch(self, learner):
            losses = [float("nan"), 5.0, 3.0, float("nan"), 4.0, 1.0]
            learner.history[-1]["valid_loss"] = losses[len(learner.history) - 1]

    stopped = learner([Given(), EarlyStop(patience=2)])
    stopped.fit(6, progress=False)
    assert len(stopped.history) == 5


def test_recorder_keeps_every_step():
    recorder = Recorder()
    fitted = learner([recorder])
    fitted.fit(2, progress=False)
    assert len(recorder.losses) == len(recorder.gradients) == 8
    weights = [len(yb) for _, yb in fitted.train_dl]
    mean = sum(w * v for w, v in zip(weights, recorder.losses[4:], strict=True)) / 50
    assert mean == pytest.approx(fitted.history[-1]["train_loss"], rel=1e-6)


def test_the_detective_stops_before_the_step():
    net = mlp(6, 5, 3)
    with torch.no_grad():
        net[2].bias[0] = 1e30
    before = [p.clone() for p in net.parameters()]

    def naive(z, y):
        return -(z.exp() / z.exp().sum(1, keepdim=True)).log().gather(1, y[:, None]).mean()

    with pytest.raises(FloatingPointError, match=r"loss: exp gave inf at \[0, 0\]"):
        learner([StopOnNonFinite()], net, naive).fit(1, progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))


def test_the_detective_lets_a_sound_training_go_on():
    watched, other = learner([StopOnNonFinite()]), learner()
    for each in (watched, other):
        each.fit(2, progress=False)
    assert max_difference(watched.model, other.model) == 0


def test_a_loader_that_gives_nothing_is_an_error():
    used_up = learner()
    used_up.train_dl = iter(list(used_up.train_dl))
    with pytest.raises(ValueError, match="train_dl gave no batch"):
        used_up.fit(2, progress=False)
    assert len(used_up.history) == 1


@pytest.mark.parametrize("watched", [False, True])
def test_progress_in_a_log_and_in_a_terminal(monkeypatch, watched):
    shown = io.StringIO()
    shown.isatty = lambda: watched
    monkeypatch.setattr(sys, "stdout", shown)
    learner().fit(3)
    monkeypatch.undo()
    lines = [line.split("\r")[-1] for line in shown.getvalue().split("\n")]
    assert lines[0].split() == ["epoch", "train", "loss", "valid", "loss", "accuracy", "seconds"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert not "".join(lines[4:]).strip()
    assert ("\r" in shown.getvalue()) == ("/12 " in shown.getvalue()) == watched


def test_a_row_has_columns():
    row = {"epoch": 12.0, "train_loss": 0.25, "accuracy": 0.5, "seconds": 1.0}
    assert epoch_row(row, header=True) == "   epoch  train loss  accuracy   seconds"
    assert epoch_row(row) == "      12      0.2500    0.5000    1.00 s"


def test_plot_history_draws_every_column():
    fitted = learner()
    fitted.fit(3, progress=False)
    plot_history(fitted.history)
    losses, metrics = plt.gcf().axes
    assert [line.get_label() for line in losses.lines] == ["train loss", "valid loss"]
    assert [line.get_label() for line in metrics.lines] == ["accuracy"]
    assert list(metrics.lines[0].get_ydata()) == [row["accuracy"] for row in fitted.history]
    plt.close("all")


def test_an_error_in_before_fit_is_the_one_that_is_seen():
    class Broken(Callback):
        def before_fit(self, learner):
            raise RuntimeError("broken callback")

    broken = learner([Broken()])
    with pytest.raises(RuntimeError, match="broken callback"):
        broken.fit(1)
    assert len(broken.callbacks) == 1


def test_the_detective_moves_nothing_when_the_second_pass_is_finite():
    calls = []

    def once(z, y):
        calls.append(1)
        return cross_entropy(z, y) * (float("nan") if len(calls) == 1 else 1)

    guarded = learner([StopOnNonFinite()], loss_fn=once)
    before = [p.clone() for p in guarded.model.parameters()]
    with pytest.raises(FloatingPointError, match="a second pass is finite"):
        guarded.fit(1, progress=False)
    assert all(torch.equal(p, q) for p, q in zip(before, guarded.model.parameters(), strict=True))


def test_early_stop_leaves_the_stop_of_others():
    class Stop(Callback):
        def after_epoch(self, learner):
            learner.stop = True

    stopped = learner([Stop(), EarlyStop(3)])
    stopped.fit(5, progress=False)
    assert len(stopped.history) == 1


def test_metrics_need_names_of_their_own():
    for metrics in ([accuracy, accuracy], [lambda z, y: z.sum(), lambda z, y: z.mean()]):
        with pytest.raises(ValueError, match="names of their own"):
            Learner([], [], mlp(2, 2), None, cross_entropy, metrics)


PARTS = {"loader", "net", "optimizer", "loss", "metric", "learner"}


@pytest.mark.parametrize("own", [set(), PARTS], ids=["library", "own"])
def test_the_walk_s_training_in_small(own):
    "Against its steps written out; every mixture of parts, over whole runs, is in test_swap."
    x, y = torch.rand(300, 4, dtype=torch.float64), torch.arange(300) % 3
    train, valid = TensorDataset(x[:270], y[:270]), TensorDataset(x[270:], y[270:])
    run = train_with(own, train, valid, range(3), seed=5)
    weights, order = (torch.Generator().manual_seed(5) for _ in range(2))
    net = mlp(4, 30, 3, generator=weights).double()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        for rows in torch.randperm(270, generator=order).split(256):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    assert max_difference(run.model, net) < 1e-14
    assert run.train_loss == pytest.approx(F.cross_entropy(net(x[:270]), y[:270]).item())
    right = (net(x[270:]).argmax(1) == y[270:]).double().mean().item()
    assert run.accuracy == pytest.approx(right, abs=1e-7)


def test_a_frozen_layer_stays_frozen():
    net = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
    net[0].eval()
    learner(net=net).predict(torch.rand(2, 6))
    assert (net.training, net[0].training, net[1].training) == (True, False, True)


@pytest.mark.parametrize("own", [True, False])
def test_a_damaged_first_file_is_named(own, tmp_path):
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "7.png").write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"7\.png: not a PNG: it starts with b'GIF89a'"):
        load_split(tmp_path, own)
