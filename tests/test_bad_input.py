"""What is given wrongly is refused: each row of docs/errors.md is tried, its type and its words.

And nothing is left half done by it: files, weights, generators and learners are as they were."""

import gzip
import io
import math
import re
import tarfile
from functools import cache
from importlib import import_module
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.data import TensorDataset

import mnist_walkthrough
from mnist_walkthrough import (
    SGD,
    Callback,
    DataLoader,
    ImageDataset,
    Learner,
    Mean,
    Sequential,
    accuracy,
    confusion_matrix,
    cross_entropy,
    find_nonfinite,
    mlp,
)
from mnist_walkthrough.data import decode_files, digits, read_idx, unpack
from mnist_walkthrough.learner import evaluate, train_with, write_state
from mnist_walkthrough.loader import RandomOrder, as_dataset, score, spread, train_loop
from mnist_walkthrough.net import init_default_, init_he_, max_difference
from mnist_walkthrough.results import stored
from mnist_walkthrough.scale import write_shards

PAGE = Path(__file__).resolve().parent.parent / "docs" / "errors.md"
ROW = re.compile(r"^\| `([^|]+)` \| `(\w+)` \| `(.+)` \|$", re.M)
ROWS = ROW.findall(PAGE.read_text(encoding="utf-8"))


def learner(**parts):
    "A learner of 6 classes from 2 numbers; other parts may be given by their names."
    x, y = torch.rand(12, 2, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 6
    net = parts.pop("model", None) or mlp(2, 4, 6, generator=torch.Generator().manual_seed(0))
    parts = {
        "train_dl": DataLoader((x, y), 5),
        "valid_dl": DataLoader((x, y), 5),
        "model": net,
        "optimizer": SGD(net.parameters(), 0.1),
        "loss_fn": cross_entropy,
        "metrics": [accuracy],
    } | parts
    return Learner(**parts)


def fit(**parts):
    learner(**parts).fit(1, progress=False)


class Broken(Callback):
    "Raises in one of its hooks."

    def __init__(self, hook):
        setattr(self, hook, self.fail)

    def fail(self, learner):
        raise OSError("the disk is full")


class Stepper:
    "An optimizer of somebody else's."

    def step(self): ...

    def zero_grad(self): ...


def image(size=(28, 28), mode="L"):
    "A black picture (width, height) as the bytes of a PNG."
    Image.new(mode, size).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def kept(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def archive(path, members):
    with tarfile.open(path, "w") as made:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return path


def readers(folder):
    "Functions that read bytes as a file of each kind."
    return {
        "grey": image(),
        "image": image,
        "decode_files": decode_files,
        "read": lambda content: ImageDataset(
            kept(folder / "digits" / "3" / "7.png", content).parents[1]
        ),
        "read_as_idx": lambda content: read_idx(kept(folder / "images-idx3", content)),
        "read_as_tar": lambda members: unpack(archive(folder / "mnist.tar", members), folder),
    }


def folders(folder):
    "Functions that make a folder of images, or another cache."

    def tree(*files):
        (folder / "tree").mkdir()
        for name in files:
            if name.endswith("/"):
                (folder / "tree" / name).mkdir()
            else:
                kept(folder / "tree" / name, image())
        return folder / "tree"

    def with_cache(path, function):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MNIST_WALKTHROUGH_CACHE", str(path))
            return function()

    return {"tree": tree, "with_cache": with_cache}


@cache
def later_pages():
    "What the rows on pages 8 to 14 may use: all that those pages make public, and twenty digits."
    pages = ["play", "gradients", "inspect", "speed", "accuracy", "convnet", "scale"]
    modules = [import_module(f"mnist_walkthrough.{page}") for page in pages]
    found = {name: vars(module)[name] for module in modules for name in module.__all__}
    few = ImageDataset(digits() / "training", num_samples=2)
    return found | {
        "few": few,
        "train": modules[4].fit,
        "stored": stored,
        "weight_norm": weight_norm,
    }


def names(folder):
    "What the rows may use."
    net = mlp(2, 4, 6)
    learner().save(folder / "weights")
    (folder / "text").write_text("no weights")
    (folder / "shards").mkdir()
    few = later_pages()["few"]
    write_shards(few.images, few.y, folder / "shards", 10)
    return (
        later_pages()
        | {"shards": folder / "shards"}
        | {name: getattr(mnist_walkthrough, name) for name in mnist_walkthrough.__all__}
        | {
            f.__name__: f
            for f in (
                as_dataset,
                evaluate,
                fit,
                learner,
                init_default_,
                init_he_,
                max_difference,
                score,
            )
        }
        | {f.__name__: f for f in (spread, train_loop, train_with, RandomOrder, TensorDataset)}
        | {"Stepper": Stepper, "write_state": write_state}
        | {"gzip": gzip, "torch": torch, "nn": nn, "np": np, "nan": math.nan, "inf": math.inf}
        | {"x": torch.zeros(6, 2), "y": torch.arange(6), "net": net, "params": [*net.parameters()]}
        | readers(folder)
        | folders(folder)
        | {"zeros": torch.zeros, "tensor": torch.tensor, "folder": folder}
    )


def said(error):
    "All that an exception says, on one line."
    return " ".join([str(error), *getattr(error, "__notes__", [])]).replace("\n", " ")


def test_the_table_has_each_public_name():
    public = mnist_walkthrough.__all__
    names = {name for name in public if callable(getattr(mnist_walkthrough, name))}
    given = " ".join(code for code, _, _ in ROWS)
    assert len(names) > 20
    assert names <= set(re.findall(r"\w+", given))


@pytest.mark.parametrize(("code", "kind", "words"), ROWS, ids=[row[0] for row in ROWS])
def test_is_refused_in_these_words(code, kind, words, tmp_path):
    with pytest.raises(Exception) as caught:  # noqa: PT011
        eval(code, names(tmp_path))
    assert type(caught.value).__name__ == kind
    pattern = ".*".join(map(re.escape, words.split("…")))
    assert re.fullmatch(pattern, said(caught.value)), said(caught.value)


def test_the_table_is_read_whole():
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:3] == "| `"]
    assert len(ROWS) == len(lines) > 60


@pytest.mark.parametrize("number", [np.int64(2), np.uint8(2)], ids=repr)
def test_numpys_whole_numbers_are_as_good_as_pythons(number):
    x, y = torch.zeros(6, 2), torch.arange(6)
    assert [len(yb) for _, yb in DataLoader((x, y), number)] == [2, 2, 2]
    assert mlp(number, number)(x).shape == (6, 2)
    trained = learner()
    trained.fit(number, progress=False)
    assert len(trained.history) == 2


@pytest.mark.parametrize("sizes", [(2, 0), (4, 3, -1), (4, 3, 2.5)])
def test_what_mlp_refuses_has_drawn_nothing(sizes):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    with pytest.raises(ValueError, match="whole number"):
        mlp(*sizes, generator=generator)
    assert torch.equal(before, generator.get_state())


def test_our_sequential_has_a_length_as_torchs():
    assert len(mlp(2, 3, 3, 1)) == 5
    assert len(Sequential()) == 0


def test_a_layer_hides_no_other_error():
    "The message about shapes is for shapes; whatever else fails comes through as it is."

    class Failing(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            if func in (torch.Tensor.matmul, torch.Tensor.__matmul__):
                raise RuntimeError("out of memory")
            return super().__torch_function__(func, types, args, kwargs or {})

    with pytest.raises(RuntimeError, match="out of memory"):
        mlp(2, 3)(torch.zeros(5, 2).as_subclass(Failing))


def test_a_parameter_without_gradient_stays():
    frozen, free = (torch.ones(2, requires_grad=r) for r in (False, True))
    optimizer = SGD([frozen, free], 0.1, momentum=0.9, weight_decay=0.1)
    free.sum().backward()
    optimizer.step()
    assert frozen.tolist() == [1, 1]
    assert free[0] < 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_shown_and_found(bad):
    x, y = torch.full((6, 2), bad), torch.arange(6)
    trained = learner(train_dl=[(x, y)])
    trained.fit(1, progress=False)
    assert math.isnan(trained.history[0]["train_loss"])
    net = mlp(2, 4, 6)
    assert (
        find_nonfinite(net, cross_entropy, SGD(net.parameters(), 0.1), [(x, y)]).layer == "layer 0"
    )


def test_a_piece_of_nothing_changes_no_mean():
    mean = Mean()
    for value, count in ((0.5, 4), (math.nan, 0), (1.0, 4)):
        mean.update(value, count)
    assert mean.compute() == 0.75


def test_a_refused_piece_changes_no_mean():
    mean = Mean()
    mean.update(0.5, 4)
    for value, count in ((1.0, -4), (1.0, 0.5), ("no number", 4)):
        with pytest.raises(ValueError, match="."):
            mean.update(value, count)
    assert mean.compute() == 0.5


def weights(learner):
    return [p.detach().clone() for p in learner.model.parameters()]


def same(before, learner):
    return all(torch.equal(p, q) for p, q in zip(before, learner.model.parameters(), strict=True))


@pytest.mark.parametrize("other", [mlp(2, 5, 6), mlp(2, 4, 6).double(), mlp(2, 4, 6).half()])
def test_weights_that_do_not_fit_change_nothing(other, tmp_path):
    learner(model=other).save(tmp_path / "weights")
    trained = learner()
    before = weights(trained)
    with pytest.raises(ValueError, match="is for another model"):
        trained.load(tmp_path / "weights")
    assert same(before, trained)
    assert {p.dtype for p in trained.model.parameters()} == {torch.float32}


def test_a_failed_save_leaves_nothing(tmp_path):
    with pytest.raises(IsADirectoryError):
        learner().save(tmp_path)
    assert not list(tmp_path.iterdir())
    assert not list(tmp_path.parent.glob("*.partial"))


@pytest.mark.parametrize("n_epochs", [-1, 1.5, "2", None, True])
def test_a_refused_fit_calls_no_callback(n_epochs):
    trained = learner(callbacks=[Broken("before_fit"), Broken("after_fit")])
    before = weights(trained)
    with pytest.raises(ValueError, match="n_epochs is a whole number from 0 on"):
        trained.fit(n_epochs)
    assert same(before, trained)
    assert (trained.history, trained.n_epochs) == ([], 0)


class Noted(Callback):
    def __init__(self):
        self.calls = []

    def before_fit(self, learner):
        self.calls.append("before_fit")

    def after_fit(self, learner):
        self.calls.append("after_fit")
        self.callbacks = list(learner.callbacks)


@pytest.mark.parametrize("hook", ["before_fit", "before_step", "after_epoch", "after_fit"])
def test_a_callback_that_fails_keeps_no_other_from_its_end(hook):
    first, last = Noted(), Noted()
    trained = learner(callbacks=[first, Broken(hook), last])
    with pytest.raises(OSError, match="the disk is full"):
        trained.fit(2)
    assert first.calls == ["before_fit", "after_fit"]
    assert last.calls == ([] if hook == "before_fit" else ["before_fit", "after_fit"])
    assert len(first.callbacks) == 4  # with the progress, which is for this fit only
    assert len(trained.callbacks) == 3
    del trained.callbacks[1]
    done = len(trained.history)
    assert done == {"after_epoch": 1, "after_fit": 2}.get(hook, 0)
    trained.fit(2, progress=False)
    assert [row["epoch"] for row in trained.history] == [*range(1, done + 3)]
    assert trained.model.training


def test_the_ends_come_in_order_and_each_failure_is_told():
    order = []

    class Ends(Callback):
        def __init__(self, name):
            self.name = name

        def after_fit(self, learner):
            order.append(self.name)
            raise OSError(self.name)

    with pytest.raises(OSError, match="c") as caught:
        learner(callbacks=[Ends("a"), Ends("b"), Ends("c")]).fit(1, progress=False)
    assert order == ["a", "b", "c"]
    assert str(caught.value.__context__) == "b"
    assert str(caught.value.__context__.__context__) == "a"


def test_after_a_metric_that_raised_the_learner_goes_on():
    def fails_once(z, y):
        if not calls:
            calls.append(1)
            raise KeyError("a metric's own error")
        return accuracy(z, y)

    calls = []
    trained = learner(metrics=[fails_once])
    with pytest.raises(KeyError) as caught:
        trained.fit(1, progress=False)
    assert "while measuring fails_once" in said(caught.value)
    assert trained.history == []
    assert trained.model.training
    trained.fit(1, progress=False)
    assert list(trained.history[0]) == [
        "epoch",
        "train_loss",
        "valid_loss",
        "fails_once",
        "seconds",
    ]


def test_labels_of_few_bits_are_refused_not_counted_wrong():
    "30 classes: `class * 30 + answer` does not fit into 8 bits."
    z, y = torch.eye(30), torch.arange(30)
    assert confusion_matrix(z, y).trace() == confusion_matrix(z, y.int()).trace() == 30
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.float32, torch.bool):
        with pytest.raises(TypeError, match=f"got {dtype}"):
            confusion_matrix(z, y.to(dtype))


def test_a_history_without_metrics_can_be_drawn():
    trained = learner(metrics=[])
    trained.fit(1, progress=False)
    mnist_walkthrough.plot_history(trained.history)
    plt.close("all")


def test_a_page_and_a_function_share_a_name(python):
    "Loading the page `accuracy` later must not put it in the place of the function."
    code = "from mnist_walkthrough.accuracy import Adam; from mnist_walkthrough import accuracy; "
    done = python(code + "print(Adam.__name__, accuracy.__module__)")
    assert done.stdout.split() == ["Adam", "mnist_walkthrough.metric"], done.stderr
