"What docs/errors.md promises of several threads, with eight that change places as often as Python lets them."

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from mnist_walkthrough import (
    SGD,
    DataLoader,
    ImageDataset,
    Learner,
    cross_entropy,
    decode_png,
    digits,
)
from mnist_walkthrough.learner import evaluate


@pytest.fixture
def at_once():
    "Calls a function many times from eight threads; returns what they gave, in order."
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    with ThreadPoolExecutor(8) as pool:
        yield lambda function, values: list(pool.map(function, values))
    sys.setswitchinterval(before)


@pytest.fixture
def learner():
    x, y = torch.rand(64, 8), torch.arange(64) % 4
    net = nn.Sequential(nn.Linear(8, 256), nn.Dropout(0.5), nn.BatchNorm1d(256), nn.Linear(256, 4))
    dl = DataLoader((x, y), 16)
    return Learner(dl, dl, net, SGD(net.parameters(), 0.1), cross_entropy)


def test_answers_of_a_model_in_eval_mode(learner, at_once):
    learner.model.eval()
    x = torch.rand(8, 8)
    state = {name: t.clone() for name, t in learner.model.state_dict().items()}
    expected = learner.predict(x)
    answers = at_once(lambda _: learner.predict(x), range(500))
    assert all(torch.equal(answer, expected) and not answer.requires_grad for answer in answers)
    assert not any(module.training for module in learner.model.modules())
    assert all(torch.equal(t, state[name]) for name, t in learner.model.state_dict().items())
    assert torch.is_grad_enabled()


def test_measures_of_a_model_in_eval_mode(learner, at_once):
    learner.model.eval()

    def measure(_=None):
        return evaluate(learner.model, learner.valid_dl, {"loss": cross_entropy})

    assert at_once(measure, range(100)) == [measure()] * 100


def test_files_folders_and_batches(at_once):
    files = sorted((digits() / "training").rglob("*.png"))[::50]
    expected = [decode_png(file.read_bytes()) for file in files]
    images = at_once(lambda file: decode_png(file.read_bytes()), files)
    assert all(map(torch.equal, images, expected))
    assert set(at_once(lambda _: digits(), range(16))) == {digits()}
    sets = at_once(lambda _: ImageDataset(digits() / "testing", num_samples=2), range(8))
    assert all(torch.equal(each.x, sets[0].x) for each in sets)
    dl = DataLoader(sets[0], 3)
    epochs = at_once(lambda _: torch.cat([y for _, y in dl]), range(50))
    assert all(torch.equal(epoch, sets[0].y) for epoch in epochs)
