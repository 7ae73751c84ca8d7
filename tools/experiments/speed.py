"What page 11 shows: times on the full MNIST, several ways in turn, so that whatever else runs meets all of them."

import os
import random
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import cache, partial

import numpy as np
import torch
from make_results import Experiment, threads_of
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from mnist_walkthrough import ImageDataset, mnist
from mnist_walkthrough.gradients import HandLearner
from mnist_walkthrough.learner import Learner
from mnist_walkthrough.loader import DataLoader
from mnist_walkthrough.loss import cross_entropy
from mnist_walkthrough.net import mlp
from mnist_walkthrough.optimizer import SGD
from mnist_walkthrough.speed import FastLearner

BATCH_SIZE, N_BATCHES = 256, 235


@cache
def data():
    "Bytes [60000, 784], the same as floats in [0, 1], and labels."
    dataset = ImageDataset(mnist() / "training")
    return dataset.images.flatten(1).clone(), dataset.x.clone(), dataset.y


def torch_net(n_hidden=30):
    return nn.Sequential(nn.Linear(784, n_hidden), nn.ReLU(), nn.Linear(n_hidden, 10))


def train_torch(net, batches):
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for xb, yb in batches():
        optimizer.zero_grad()
        F.cross_entropy(net(xb), yb).backward()
        optimizer.step()


def brackets(x, y, batch_size=BATCH_SIZE):
    for rows in torch.randperm(len(y)).split(batch_size):
        yield x[rows], y[rows]


def ours(learner, x, y, batch_size=BATCH_SIZE, multiple=32):
    "An epoch of a learner with all own parts."
    net = mlp(784, 30, 10)
    batches = DataLoader((x, y), batch_size, shuffle=True)
    trained = learner(batches, batches, net, SGD(net.parameters(), 0.1), cross_entropy)
    trained.multiple = multiple
    return trained.train_epoch


def products(x, n_hidden):
    "The five matrix products of each step."
    w1, w2 = torch.randn(n_hidden, 784), torch.randn(10, n_hidden)
    out, delta = torch.empty(BATCH_SIZE, n_hidden), torch.randn(BATCH_SIZE, 10)

    def epoch():
        for xb in x.split(BATCH_SIZE):
            n = len(xb)
            hidden = torch.mm(xb, w1.T, out=out[:n])
            torch.mm(hidden, w2.T)
            torch.mm(delta[:n].T, hidden)
            torch.mm(torch.mm(delta[:n], w2).T, xb)

    return epoch


@cache
def rungs():
    "Each has one change more than the one before it."
    images, x, y = data()
    return {
        "torch nn, torch's DataLoader": partial(
            train_torch,
            torch_net(),
            lambda: TorchLoader(TensorDataset(x, y), BATCH_SIZE, shuffle=True),
        ),
        "torch nn, x[rows]": partial(train_torch, torch_net(), lambda: brackets(x, y)),
        "torch nn, index_select": partial(
            train_torch, torch_net(), lambda: DataLoader((x, y), BATCH_SIZE, shuffle=True)
        ),
        "ours, autograd": ours(Learner, x, y),
        "ours, by hand": ours(HandLearner, x, y),
        "ours, buffers": ours(FastLearner, x, y, multiple=1),
        "ours, bytes": ours(FastLearner, images, y, multiple=1),
        "ours, padded to 32": ours(FastLearner, images, y),
        "matrix products, width 32": products(x, 32),
        "matrix products, width 30": products(x, 30),
    }


def timed(way):
    start = time.perf_counter()
    way()
    return time.perf_counter() - start


def a_round(ways, warm_up, digits=4):
    "Each once, in a new order."
    with threads_of(1):
        if warm_up:
            for way in ways.values():
                way()
        return {
            name: round(timed(ways[name]), digits) for name in random.sample(list(ways), len(ways))
        }


def ladder(round):
    return a_round(rungs(), warm_up=round == 0)


@cache
def pieces():
    "Parts of a step, each for all batches of an epoch."
    images, x, y = data()
    rows = torch.randperm(len(y)).split(BATCH_SIZE)
    bytes_, floats = images[:BATCH_SIZE].clone(), x[:BATCH_SIZE].clone()
    buffer = torch.empty_like(floats)
    d, by_w, by_w_t = torch.randn(BATCH_SIZE, 30), torch.empty(30, 784), torch.empty(784, 30)

    def for_all(piece):
        def epoch():
            for i in rows:
                piece(i)

        return epoch

    def all_of(batches):
        return lambda: sum(1 for _ in batches())

    return {
        "copy in order": all_of(
            lambda: (
                (a.clone(), b.clone()) for a, b in zip(x.split(256), y.split(256), strict=True)
            )
        ),
        "torch's DataLoader": all_of(
            lambda: TorchLoader(TensorDataset(x, y), BATCH_SIZE, shuffle=True)
        ),
        "our DataLoader": all_of(lambda: DataLoader((x, y), BATCH_SIZE, shuffle=True)),
        "our DataLoader, bytes": all_of(lambda: DataLoader((images, y), BATCH_SIZE, shuffle=True)),
        "x[rows]": for_all(lambda i: x[i]),
        "index_select": for_all(lambda i: x.index_select(0, i)),
        "index_select into a buffer": for_all(
            lambda i: torch.index_select(x, 0, i, out=buffer[: len(i)])
        ),
        "bytes, index_select": for_all(lambda i: images.index_select(0, i)),
        "bytes to floats": for_all(lambda i: bytes_.to(torch.float32)),
        "bytes to floats, / 255": for_all(lambda i: bytes_ / 255),
        "d.T @ x": for_all(lambda i: torch.mm(d.T, floats, out=by_w)),
        "x.T @ d": for_all(lambda i: torch.mm(floats.T, d, out=by_w_t)),
    }


def parts(round):
    return a_round(pieces(), warm_up=round == 0, digits=6)


WIDTHS = (8, 16, 24, 28, 29, 30, 31, 32, 33, 36, 40, 44, 48, 56, 64)


@cache
def layers():
    "The two large products of a step, forward and by the weights, 200 times, for each width."
    x = data()[1][:BATCH_SIZE].clone()

    def of_width(n):
        w, out = torch.randn(n, 784), torch.empty(BATCH_SIZE, n)
        d, by_w = torch.randn(BATCH_SIZE, n), torch.empty(n, 784)

        def forward():
            for _ in range(200):
                torch.mm(x, w.T, out=out)

        def backward():
            for _ in range(200):
                torch.mm(d.T, x, out=by_w)

        return {f"forward {n}": forward, f"backward {n}": backward}

    return {name: way for n in WIDTHS for name, way in of_width(n).items()}


def widths(round):
    return a_round(layers(), warm_up=round == 0, digits=6)


@cache
def libraries():
    "The two large products by torch's library and by numpy's, 200 times."
    x = data()[1][:BATCH_SIZE].clone()
    if os.environ.get("OMP_NUM_THREADS") != "1":
        raise SystemExit(
            "set OMP_NUM_THREADS=1: numpy's library looks there, once, when it is loaded"
        )

    def repeat(product, a, b, out):
        def run():
            for _ in range(200):
                product(a, b, out=out)

        return run

    ways = {}
    for n in (30, 32):
        w, d = torch.randn(n, 784), torch.randn(BATCH_SIZE, n)
        of = {"forward": (x, w.T), "backward": (d.T, x)}
        for name, (a, b) in of.items():
            out = torch.empty(len(a), b.shape[1])
            ways[f"torch {name} {n}"] = repeat(torch.mm, a, b, out)
            ways[f"numpy {name} {n}"] = repeat(np.matmul, a.numpy(), b.numpy(), out.numpy())
    return ways


def by_library(round):
    return a_round(libraries(), warm_up=round == 0, digits=6)


class Phases:
    "Seconds between marks, added up by name."

    def __init__(self):
        self.seconds, self.last = {}, time.perf_counter()

    def mark(self, name):
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


def phases_of(net, loss_fn, optimizer, batches):
    "The loop of the Learner with a look at the clock after each line."
    clock, total = Phases(), 0.0
    for xb, yb in batches:
        clock.mark("batch")
        optimizer.zero_grad()
        clock.mark("zero_grad")
        logits = net(xb)
        clock.mark("forward")
        loss = loss_fn(logits, yb)
        clock.mark("loss")
        loss.backward()
        clock.mark("backward")
        optimizer.step()
        clock.mark("step")
        total += float(loss.detach()) * len(yb)
        clock.mark("metric")
    return clock.seconds


def phases(round, parts, digits):
    "Of an epoch, with ours or torch's parts; of one digit a batch the arithmetic costs nearly nothing."
    _, x, y = data()
    if digits == "one":
        x, y = x[:N_BATCHES, :1].clone(), (y[:N_BATCHES] > 4).long()
    batch_size, sizes = (BATCH_SIZE, (784, 30, 10)) if digits == "all" else (1, (1, 1, 2))
    with threads_of(1):
        if parts == "ours":
            net = mlp(*sizes)
            batches = DataLoader((x, y), batch_size, shuffle=True)
            found = phases_of(net, cross_entropy, SGD(net.parameters(), 0.1), batches)
        else:
            net = nn.Sequential(nn.Linear(*sizes[:2]), nn.ReLU(), nn.Linear(*sizes[1:]))
            optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            found = phases_of(net, F.cross_entropy, optimizer, brackets(x, y, batch_size))
    return {name: round_to(1e6 * seconds / N_BATCHES) for name, seconds in found.items()}


def round_to(microseconds):
    return round(microseconds, 1)


@cache
def batch_ways(batch_size):
    "At most 100 steps of each."
    images, x, y = data()
    n = min(len(y), 100 * batch_size)
    net = torch_net()
    return n, {
        "torch nn, x[rows]": partial(train_torch, net, lambda: brackets(x[:n], y[:n], batch_size)),
        "ours, autograd": ours(Learner, x[:n], y[:n], batch_size),
        "ours, padded to 32": ours(FastLearner, images[:n], y[:n], batch_size),
    }


def batches(round, batch_size):
    n, ways = batch_ways(batch_size)
    seconds = a_round(ways, warm_up=round == 0, digits=6)
    return {name: round_to(n / s) for name, s in seconds.items()}


@cache
def compiled():
    "torch.compile on the net and loss: the same steps, compiled to C++ before the first."
    _, x, y = data()
    net = torch_net()

    def loss_of(xb, yb):
        return F.cross_entropy(net(xb), yb)

    torch.compiler.config.force_disable_caches = True  # as on a machine that has never done it
    fast = torch.compile(loss_of, dynamic=True)
    start = time.perf_counter()
    fast(x[:BATCH_SIZE], y[:BATCH_SIZE]).backward()
    took = time.perf_counter() - start

    def epoch(loss):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def run():
            for xb, yb in DataLoader((x, y), BATCH_SIZE, shuffle=True):
                optimizer.zero_grad()
                loss(xb, yb).backward()
                optimizer.step()

        return run

    return took, {"torch nn, as it is": epoch(loss_of), "torch nn, compiled": epoch(fast)}


def compile(round):
    with threads_of(1):
        took, ways = compiled()
    return {"compiling": round_to(took)} | a_round(ways, warm_up=round == 0)


@contextmanager
def neighbours(n):
    "So many processes that keep a core busy."
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)]
    try:
        time.sleep(0.2 if n else 0)
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def threads(round, busy):
    "One thread and two, beside so many busy neighbours: microseconds a step."
    images, _, y = data()
    n_digits = 50 * BATCH_SIZE
    way, found = ours(FastLearner, images[:n_digits], y[:n_digits]), {}
    with neighbours(busy):
        for n in random.sample((1, 2), 2):
            with threads_of(n):
                found[f"{n} threads"] = round_to(1e6 * timed(way) / 50)
    return found


def rounds(n, *cases):
    return [{"round": i} | case for i in range(n) for case in cases or ({},)]


EXPERIMENTS = {
    "speed_ladder": Experiment(ladder, rounds(25)),
    "speed_parts": Experiment(parts, rounds(25)),
    "speed_widths": Experiment(widths, rounds(25)),
    "speed_libraries": Experiment(by_library, rounds(25)),
    "speed_phases": Experiment(
        phases,
        rounds(
            15, *({"parts": p, "digits": d} for p in ("torch's", "ours") for d in ("all", "one"))
        ),
    ),
    "speed_batches": Experiment(batches, rounds(7, *({"batch_size": 4**k} for k in range(8)))),
    "speed_compile": Experiment(compile, rounds(15)),
    "speed_threads": Experiment(threads, rounds(9, *({"busy": n} for n in range(3)))),
}
