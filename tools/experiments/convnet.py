"What page 13 shows of the full MNIST: the way to 99.0 % a change at a time, then 99.4 %, then the best small net."

import json
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

from make_results import Experiment, full, threads_of

from mnist_walkthrough import mnist
from mnist_walkthrough.accuracy import split_train
from mnist_walkthrough.convnet import LADDER, RECIPES, convnet_run, scores, train_convnet
from mnist_walkthrough.data import class_names
from mnist_walkthrough.results import stored


@cache
def parted():
    "55,000 digits to train on, 5,000 to choose on."
    return split_train(full("training"))


@cache
def warmed_up(recipe):
    "The first steps of a kind of net compile its kernels: they are made once before the clock runs."
    train = full("training")
    train_convnet(recipe._replace(n_epochs=0.03), train.images, train.y, 0)


def measured(recipe, train, valid, seed):
    with threads_of(2):
        warmed_up(recipe)
        found = convnet_run(recipe, train, valid, seed)
    return found | {"seconds": round(found["seconds"], 3)}


def rung(seed, change):
    return measured(LADDER[change], full("training"), full("testing"), seed)


def on_validation(seed, recipe):
    "What was looked at to choose the epochs and all else: the 5,000 held out."
    found = convnet_run((LADDER | RECIPES)[recipe], *parted(), seed)
    return {"accuracy": found["accuracy"]}


def by_optimizer(seed, optimizer):
    "The recipe for 99.4 % with Muon, and with Adam alone at a rate that suits it."
    recipe = RECIPES["99.4"]._replace(optimizer=optimizer)
    if optimizer == "adam":
        recipe = recipe._replace(lr=0.01)
    return {"accuracy": convnet_run(recipe, *parted(), seed)["accuracy"]}


def goal(seed, recipe):
    return measured(RECIPES[recipe], full("training"), full("testing"), seed)


FRESH = """
import json, sys, time
import torch
from mnist_walkthrough import ImageDataset, mnist
from mnist_walkthrough.convnet import RECIPES, train_convnet
from mnist_walkthrough.data import class_names, read_files

torch.set_num_threads(2)
source, seed = sys.argv[1], int(sys.argv[2])
folder = mnist() / "training"
start = time.perf_counter()
if source == "packed":
    train = ImageDataset(folder)
    images, y = train.images, train.y
else:
    images, y = read_files(class_names(folder), (28, 28))
loaded = time.perf_counter()
train_convnet(RECIPES["99.0"], images, y, seed)
trained = time.perf_counter()
print(json.dumps({"loading": round(loaded - start, 3), "training": round(trained - loaded, 3)}))
"""


def fresh(seed, source):
    "A process of its own, from files to a trained net, nothing warmed up."
    command = [sys.executable, "-c", FRESH, source, str(seed)]
    return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def original_indices():
    "Where each test image stands in MNIST's own file: its name."
    found = class_names(mnist() / "testing")
    return [int(Path(name).stem) for names in found.values() for name in names]


def best(seed):
    "The accuracy, and which test digits were mistaken for what, how surely."
    train, test = full("training"), full("testing")
    with threads_of(2):
        recipe = RECIPES["best"]
        net = train_convnet(recipe, train.images, train.y, seed)
        sure, said = scores(net, test.images, recipe).softmax(1).max(1)
    wrong = (said != test.y).nonzero()[:, 0].tolist()
    names = original_indices()
    return {
        "accuracy": 1 - len(wrong) / len(test),
        "parameters": sum(p.numel() for p in net.parameters()),
        "mistakes": [[names[i], int(said[i]), round(float(sure[i]), 3)] for i in wrong],
    }


def short(seed):
    "Half an epoch of the best net's recipe."
    recipe = RECIPES["best"]._replace(n_epochs=0.5)
    return {"accuracy": measured(recipe, full("training"), full("testing"), seed)["accuracy"]}


def mistake(rank):
    "The test digit that most of the stored best nets mistake, the next one, and so on."
    runs = stored("convnet_best").runs
    made = [mistake for run in runs for mistake in run["mistakes"]]
    by_count = Counter(index for index, _, _ in made)
    index = sorted(by_count, key=lambda i: (-by_count[i], i))[rank]
    said = Counter(said for i, said, _ in made if i == index).most_common(1)[0][0]
    sure = [sure for i, s, sure in made if (i, s) == (index, said)]
    at, test = original_indices().index(index), full("testing")
    return {
        "index": index,
        "given": int(test.y[at]),
        "predicted": said,
        "nets": by_count[index],
        "probability": round(sum(sure) / len(sure), 3),
        "pixels": bytes(test.images[at].flatten().tolist()).hex(),
    }


def seeds(n, **settings):
    (name, values), *_ = settings.items()
    return [{"seed": seed, name: value} for seed in range(n) for value in values]


EXPERIMENTS = {
    "convnet_chosen": Experiment(on_validation, seeds(3, recipe=[*LADDER, "99.4", "best"])),
    "convnet_optimizers": Experiment(by_optimizer, seeds(5, optimizer=["adam", "muon"])),
    "convnet_ladder": Experiment(rung, seeds(5, change=LADDER)),
    "convnet_goals": Experiment(
        goal,
        seeds(10, recipe=["99.0", "99.4"]),
        [{"seed": 0, "recipe": recipe} for recipe in ("99.0", "99.4")],
    ),
    "convnet_fresh": Experiment(fresh, seeds(5, source=["packed", "png"])),
    "convnet_best": Experiment(best, [{"seed": seed} for seed in range(10)]),
    "convnet_best_short": Experiment(short, [{"seed": seed} for seed in range(5)], [{"seed": 0}]),
    "convnet_mistakes": Experiment(mistake, [{"rank": rank} for rank in range(20)]),
}
