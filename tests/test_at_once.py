"An empty cache, decoding, and whole trainings in several threads that begin together, against each alone."

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch

from mnist_walkthrough import (
    SGD,
    DataLoader,
    ImageDataset,
    Learner,
    accuracy,
    cross_entropy,
    decode_png,
    digits,
    log_softmax,
    mlp,
)

N = 8


def at_once(call):
    "What each of several threads gets that begin together; the argument is the thread's number."
    start = Barrier(N)

    def wait_and_call(i):
        start.wait()
        return call(i)

    with ThreadPoolExecutor(N) as threads:
        return list(threads.map(wait_and_call, range(N)))


@pytest.fixture
def cache(monkeypatch, tmp_path):
    "An empty one."
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_empty_cache_is_filled_once(cache):
    folders = at_once(lambda _: digits())
    assert {*folders} == {digits()}
    read = at_once(lambda _: ImageDataset(digits() / "training"))
    alone = ImageDataset(digits() / "training", num_samples=100)  # decoded, not mapped
    for dataset in read:
        assert torch.equal(dataset.images, alone.images)
        assert torch.equal(dataset.y, alone.y)
    assert not list(cache.glob("*.partial*"))


def test_pictures_are_decoded_and_tensors_computed_as_alone():
    files = [f.read_bytes() for f in sorted((digits() / "testing").glob("*/*.png"))[: 20 * N]]
    mine = at_once(lambda i: [decode_png(file) for file in files[i::N]])
    for i, images in enumerate(mine):
        assert all(torch.equal(a, decode_png(b)) for a, b in zip(images, files[i::N], strict=True))
    logits = torch.randn(N, 50, 10, generator=torch.Generator().manual_seed(0))
    for i, result in enumerate(at_once(lambda i: log_softmax(logits[i]))):
        assert torch.equal(result, log_softmax(logits[i]))


def trained(seed):
    "Parameters and history after two epochs of a training that has a generator of its own."
    generator = torch.Generator().manual_seed(seed)
    train, valid = (ImageDataset(digits() / name) for name in ("training", "testing"))
    net = mlp(784, 30, 10, generator=generator)
    learner = Learner(
        train_dl=DataLoader(train, 50, shuffle=True, generator=generator),
        valid_dl=DataLoader(valid, 1000),
        model=net,
        optimizer=SGD(net.parameters(), lr=0.1, momentum=0.9),
        loss_fn=cross_entropy,
        metrics=[accuracy],
    )
    learner.fit(2, progress=False)
    rows = [{k: v for k, v in row.items() if k != "seconds"} for row in learner.history]
    return [p.detach() for p in net.parameters()], rows


def test_trainings_do_not_meet():
    for seed, (parameters, history) in enumerate(at_once(trained)):
        alone, rows = trained(seed)
        assert history == rows
        assert all(map(torch.equal, parameters, alone))
