"Whole trainings, each from a seed: `python tests/runs.py FILE` writes what comes out of them in this process."

import sys
from importlib import import_module

import torch
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

from mnist_walkthrough import (
    SGD,
    DataLoader,
    ImageDataset,
    Learner,
    accuracy,
    convnet,
    cross_entropy,
    digits,
    mlp,
)
from mnist_walkthrough.gradients import HandLearner
from mnist_walkthrough.learner import load_split, train_with
from mnist_walkthrough.net import init_he_
from mnist_walkthrough.speed import FastLearner

advice = import_module("mnist_walkthrough.accuracy")
OWN = {"data", "loader", "net", "optimizer", "loss", "metric", "learner"}
MIXTURES = {"own": OWN, "library": set(), "mixed": {"loader", "optimizer", "metric"}}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def of(model, *figures):
    "The parameters and figures of a run."
    found = {name: p.detach().contiguous().clone() for name, p in model.state_dict().items()}
    return found | {"figures": torch.tensor(figures, dtype=torch.float64)}


def walks(splits):
    "The walk's training with own and library parts; with own parts from ten seeds, and in float64."
    for name, own in MIXTURES.items():
        yield f"walk, {name}", of(*train_with(own, *splits))
    for seed in range(10):
        yield f"walk, seed {seed}", of(*train_with(OWN, *splits, seed=seed))
    double = [TensorDataset(part.tensors[0].double(), part.tensors[1]) for part in splits]
    yield "walk, float64", of(*train_with(OWN, *double))


def learners(train, valid):
    "Twenty epochs with momentum in each kind of learner."
    for kind in (Learner, HandLearner, FastLearner):
        net = mlp(784, 30, 10, generator=seeded(0))
        train_dl = DataLoader(train, 256, shuffle=True, generator=seeded(0))
        moves = SGD(net.parameters(), lr=0.1, momentum=0.9)
        made = kind(train_dl, DataLoader(valid, 256), net, moves, cross_entropy, [accuracy])
        made.fit(20, progress=False)
        rows = [value for row in made.history for k, value in row.items() if k != "seconds"]
        yield f"walk, {kind.__name__}", of(net, *rows)


def recipes(train):
    "Those of pages 12 and 13, cut short."
    yield "recipe", of(advice.fit(advice.Recipe(n_epochs=3), train, seed=0))
    best = convnet.RECIPES["best"]._replace(n_epochs=3, batch_size=50)
    yield "bfloat16, convnet", of(convnet.train_convnet(best, train.images, train.y, seed=0))
    for name in ("784-30-10", "convnet"):
        few = convnet.FEW[name]._replace(n_epochs=1)
        kind = "bfloat16, few" if name == "convnet" else "few"
        yield kind, of(convnet.few_train(few, train.images, train.y, seed=0))


def runs():
    "What comes out: {run: {name: tensor}}."
    train, valid = (ImageDataset(digits() / part) for part in ("training", "testing"))
    drawn = {
        "pixels": train.images,
        "permutation": torch.randperm(1000, generator=seeded(0)),
        "split": advice.split_train(train, 100, seed=0)[1].y,
    }
    starts = {"default": mlp(784, 30, 10, generator=seeded(0))}
    starts["he"] = mlp(784, 30, 10, init_=init_he_, generator=seeded(0))
    splits = [load_split(digits() / part, own=True) for part in ("training", "testing")]
    found = {"drawn": drawn} | {f"start, {name}": of(net) for name, net in starts.items()}
    return found | dict([*walks(splits), *learners(train, valid), *recipes(train)])


def flat(found):
    "Each tensor under the name of its run and its own."
    return ((f"{run}/{name}", t) for run, part in found.items() for name, t in part.items())


if __name__ == "__main__":
    save_file(dict(flat(runs())), sys.argv[1])
