"Every combination of own and library parts ends with the same net: 64 runs of 20 epochs, twice."

from itertools import product

import pytest
import torch
from torch.utils.data import TensorDataset

from mnist_walkthrough import digits
from mnist_walkthrough.learner import load_split, train_with
from mnist_walkthrough.net import max_difference

STAGES = ("data", "loader", "net", "optimizer", "loss", "learner")
CHOICES = list(product((False, True), repeat=len(STAGES)))


def name(choice):
    return "+".join(stage for stage, own in zip(STAGES, choice, strict=True) if own) or "library"


@pytest.fixture(scope="module")
def splits():
    return {
        own: [load_split(digits() / s, own) for s in ("training", "testing")]
        for own in (True, False)
    }


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def table(request, splits):
    "All 64 runs in one precision: {choice: run}."

    def run(choice):
        own = {stage for stage, chosen in zip(STAGES, choice, strict=True) if chosen}
        cast = [
            TensorDataset(s.tensors[0].to(request.param), s.tensors[1])
            for s in splits["data" in own]
        ]
        return train_with(own, *cast)

    return request.param, {choice: run(choice) for choice in CHOICES}


@pytest.mark.parametrize("choice", CHOICES, ids=name)
def test_combination_equals_the_library(table, choice):
    dtype, runs = table
    library, run = runs[CHOICES[0]], runs[choice]
    largest = max(p.abs().max().item() for p in library.model.parameters())
    bound = {torch.float32: 1e-6, torch.float64: 1e-14}[dtype] * largest
    assert max_difference(run.model, library.model) < bound
    assert run.accuracy == library.accuracy
    assert run.train_loss == pytest.approx(library.train_loss, rel=1e-6)
    assert {p.dtype for p in run.model.parameters()} == {dtype}
    if not {"net", "loss"} & set(name(choice).split("+")):
        assert max_difference(run.model, library.model) == 0


def test_the_run_is_the_one_that_the_pages_speak_of(table):
    "It learns: equal nets that had learned nothing would be equal, too."
    assert 0.80 < table[1][CHOICES[-1]].accuracy < 0.88


def test_own_parts_are_really_in_use(splits):
    from mnist_walkthrough import SGD, DataLoader, cross_entropy, mlp
    from mnist_walkthrough.learner import make_parts

    train = splits[True][0]
    own = make_parts({"loader", "net", "optimizer", "loss"}, train, 0)
    library = make_parts(set(), train, 0)
    assert [type(p) for p in own[:3]] == [DataLoader, type(mlp(2, 2)), SGD]
    assert own[3] is cross_entropy
    assert [type(p) for p in library[:3]] == [
        torch.utils.data.DataLoader,
        torch.nn.Sequential,
        torch.optim.SGD,
    ]
    assert library[3] is torch.nn.functional.cross_entropy
