"What page 12 shows and a page has no time for: recipes on a validation split, then the test set, opened once."

import math
import time
from functools import cache
from itertools import product

import torch
from make_results import Experiment, full, threads_of

from mnist_walkthrough import ImageDataset, mnist
from mnist_walkthrough.accuracy import PLAIN, Recipe, fit, share_right, split_train, subset
from mnist_walkthrough.data import class_names, read_files


@cache
def split():
    return split_train(full("training"))


def timed_fit(recipe, train, seed):
    start = time.perf_counter()
    net = fit(recipe, train, seed)
    return net, round(time.perf_counter() - start, 3)


def on_validation(recipe, seed):
    "Train on 55,000, measure on the other 5,000."
    train, valid = split()
    net, seconds = timed_fit(recipe, train, seed)
    return {"seconds": seconds, "accuracy": share_right(net, valid)}


def on_test(recipe, seed):
    "Train on all 60,000, measure on the 10,000."
    net, seconds = timed_fit(recipe, full("training"), seed)
    return {"seconds": seconds, "accuracy": share_right(net, full("testing"))}


def seeds(n, cases):
    return [{"seed": seed} | case for seed, case in product(range(n), cases)]


FIVE = PLAIN._replace(n_epochs=5)
STARTS = {  # and what the rates are multiplied with
    "plain": (FIVE, 1),
    "standardized": (FIVE._replace(standardize=True), 1),
    "one-cycle": (FIVE._replace(schedule="one_cycle"), 1),
    "momentum": (FIVE._replace(momentum=0.9), 1),
    "Adam": (FIVE._replace(optimizer="adam"), 0.03),
    "Adam, one-cycle": (FIVE._replace(optimizer="adam", schedule="one_cycle"), 0.03),
}
RATES = [
    {"start": start, "lr": round(lr * scale, 6)}
    for start, (_, scale) in STARTS.items()
    for lr in (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
]


def rate(seed, start, lr):
    return on_validation(STARTS[start][0]._replace(lr=lr), seed)


IDEAS = {
    "plain": (
        PLAIN._replace(n_epochs=10, lr=0.3),
        {
            "nothing": {},
            "standardize": {"standardize": True},
            "momentum": {"momentum": 0.9, "lr": 0.1},
            "cosine": {"schedule": "cosine", "lr": 1.0},
            "one-cycle": {"schedule": "one_cycle", "lr": 1.0},
            "Adam": {"optimizer": "adam", "lr": 0.009},
            "weight decay": {"weight_decay": 4e-4},
            "label smoothing": {"smoothing": 0.1},
            "shifts": {"shifts": True},
        },
    ),
    "whole": (
        Recipe(n_epochs=10),
        {
            "nothing": {},
            "standardize": {"standardize": False, "lr": 0.3},
            "momentum": {"momentum": 0.0, "lr": 0.5},
            "cosine": {"schedule": "cosine"},
            "one-cycle": {"schedule": "constant", "lr": 0.03},
            "Adam": {"optimizer": "adam", "lr": 0.02, "weight_decay": 0.05},
            "weight decay": {"weight_decay": 0.0},
            "label smoothing": {"smoothing": 0.1},
            "shifts": {"shifts": False},
        },
    ),
}


def idea(seed, start, change):
    recipe, changes = IDEAS[start]
    return on_validation(recipe._replace(**changes[change]), seed)


def length(seed, n_epochs, shifts):
    return on_validation(Recipe(n_epochs=n_epochs, shifts=shifts), seed)


def fold(fold):
    "The 60,000 in twelve parts of 5,000, each measured by a net of the other eleven; the last is `split`'s."
    train = full("training")
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0))
    parts = list(order.chunk(12))
    held_out = subset(train, parts.pop(fold))
    net = fit(Recipe(n_epochs=20), subset(train, torch.cat(parts)), seed=0)
    return {"accuracy": share_right(net, held_out)}


def width(seed, n_hidden):
    "What a net of this width makes of the digits that it was trained on, and of the other 5,000."
    train, valid = split()
    net = fit(Recipe(n_hidden=n_hidden, n_epochs=30), train, seed)
    return {"on_train": share_right(net, train), "accuracy": share_right(net, valid)}


def headline(seed, n_hidden, n_epochs):
    return on_test(Recipe(n_hidden=n_hidden, n_epochs=n_epochs), seed)


def few(seed, per_class, shifts):
    "So many digits of each class, drawn anew for each seed; the same number of steps for all sizes."
    train = full("training")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=generator)
    y = train.y[order]
    i = torch.cat([order[y == c][:per_class] for c in range(10)])
    n_epochs = round(1500 / math.ceil(len(i) / Recipe().batch_size))
    net = fit(Recipe(n_epochs=n_epochs, shifts=shifts), subset(train, i), seed)
    return {"n_epochs": n_epochs, "accuracy": share_right(net, full("testing"))}


QUICK = {  # To be fast: nets that are wider, few epochs
    97: Recipe(lr=0.2, weight_decay=0.0, shifts=False),
    98: Recipe(smoothing=0.1),
}
TRIED = {
    97: ((64, 3), (128, 2), (128, 3), (256, 2)),
    98: ((128, 8), (128, 12), (256, 5), (256, 6)),
}
CANDIDATES = [
    {"target": target, "n_hidden": n_hidden, "n_epochs": n_epochs}
    for target, tried in TRIED.items()
    for n_hidden, n_epochs in tried
]


def candidate(seed, target, n_hidden, n_epochs):
    with threads_of(2):
        recipe = QUICK[target]._replace(n_hidden=n_hidden, n_epochs=n_epochs)
        return on_validation(recipe, seed)


CHOSEN = {
    97: QUICK[97]._replace(n_hidden=256, n_epochs=2),
    98: QUICK[98]._replace(n_hidden=256, n_epochs=6),
}


def to_target(seed, target, threads):
    "From the packed file to a trained net; the test images are looked at when the clock has stopped."
    folder = mnist()
    with threads_of(threads):
        start = time.perf_counter()
        train = ImageDataset(folder / "training")
        loaded = time.perf_counter() - start
        net, seconds = timed_fit(CHOSEN[target], train, seed)
    accuracy = share_right(net, full("testing"))
    return {"loading": round(loaded, 3), "training": seconds, "accuracy": accuracy}


def reading(repeat, source):
    "All 60,000 images, from the packed file or from their PNGs."
    folder = mnist() / "training"
    start = time.perf_counter()
    if source == "packed":
        ImageDataset(folder).images.sum()
    else:
        read_files(class_names(folder), (28, 28))
    return {"seconds": round(time.perf_counter() - start, 3)}


SIZES = [
    {"per_class": n, "shifts": shifts}
    for n in (1, 3, 10, 30, 100, 300, 1000, 3000, 5000)
    for shifts in (False, True)
]
LENGTHS = [{"n_epochs": n, "shifts": shifts} for n in (3, 10, 30, 100) for shifts in (False, True)]
EXPERIMENTS = {
    "accuracy_rates": Experiment(rate, seeds(3, RATES)),
    "accuracy_ideas": Experiment(
        idea,
        seeds(5, [{"start": s, "change": c} for s, (_, changes) in IDEAS.items() for c in changes]),
        [{"seed": 0, "start": "whole", "change": "nothing"}],
    ),
    "accuracy_lengths": Experiment(length, seeds(3, LENGTHS)),
    "accuracy_search": Experiment(candidate, seeds(3, CANDIDATES)),
    "accuracy_folds": Experiment(fold, [{"fold": i} for i in range(12)]),
    "accuracy_widths": Experiment(
        width, seeds(3, [{"n_hidden": n} for n in (10, 20, 30, 50, 128, 300)])
    ),
    "accuracy_small": Experiment(
        headline,
        seeds(10, [{"n_hidden": 30, "n_epochs": n} for n in (20, 100)]),
        [{"seed": 0, "n_hidden": 30, "n_epochs": 20}],
    ),
    "accuracy_wide": Experiment(
        headline,
        seeds(10, [{"n_hidden": n, "n_epochs": 40} for n in (50, 128)]),
        [{"seed": 0, "n_hidden": n, "n_epochs": 40} for n in (50, 128)],
    ),
    "accuracy_sizes": Experiment(
        few, seeds(5, SIZES), [{"seed": 0, "per_class": 100, "shifts": True}]
    ),
    "accuracy_time": Experiment(
        to_target,
        seeds(10, [{"target": t, "threads": n} for t, n in ((97, 1), (97, 2), (98, 2))]),
        [{"seed": 0, "target": target, "threads": 2} for target in (97, 98)],
    ),
    "accuracy_reading": Experiment(
        reading,
        [{"repeat": i, "source": s} for i in range(5) for s in ("packed", "png")],
    ),
}
