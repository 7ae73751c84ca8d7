"What page 13 shows of training on 1,000 digits: folds of them to choose on, then the full test set, opened once."

import time
from functools import cache
from itertools import product

import torch
from make_results import Experiment, full

from mnist_walkthrough import ImageDataset, digits
from mnist_walkthrough.accuracy import subset
from mnist_walkthrough.convnet import FEW, few_right, few_train

CHANGES = {
    "none": {"affine": False, "elastic": 0.0, "upright": False},
    "affine": {"elastic": 0.0, "upright": False},
    "and elastic": {"upright": False},
    "and upright": {},
}


@cache
def thousand(draw):
    "The digits that ship with the package, or another draw of 100 of each class."
    if draw == 0:
        return ImageDataset(digits() / "training")
    train, generator = full("training"), torch.Generator().manual_seed(draw)
    order = torch.randperm(len(train), generator=generator)
    rows = [order[train.y[order] == digit][:100] for digit in range(10)]
    return subset(train, torch.cat(rows))


def timed(recipe, train, valid, seed):
    start = time.perf_counter()
    net = few_train(recipe, train.images, train.y, seed)
    seconds = round(time.perf_counter() - start, 3)
    right = few_right(net, recipe, valid.images, valid.y)
    return {"accuracy": right.double().mean().item(), "seconds": seconds}


def on_fold(net, changes, seed):
    "One fifth of the thousand judged by a net that was trained on the others, for half as long; the seed is the fold."
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    parts = list(order.chunk(5))
    held_out = subset(thousand(0), parts.pop(seed))
    recipe = FEW[net]._replace(n_epochs=FEW[net].n_epochs // 2, **CHANGES[changes])
    return timed(recipe, subset(thousand(0), torch.cat(parts)), held_out, seed)


def on_test(net, draw, seed):
    return timed(FEW[net], thousand(draw), full("testing"), seed)


TEST = [(0, seed) for seed in range(10)] + [(draw, 0) for draw in range(1, 6)]
EXPERIMENTS = {
    "convnet_few_folds": Experiment(
        on_fold,
        [
            {"seed": seed, "net": net, "changes": changes}
            for seed, net, changes in product(range(5), FEW, CHANGES)
        ],
    ),
    "convnet_few": Experiment(
        on_test,
        [{"seed": seed, "draw": draw, "net": net} for (draw, seed), net in product(TEST, FEW)],
        [{"seed": 0, "draw": 0, "net": net} for net in ("784-30-10", "convnet")],
    ),
}
