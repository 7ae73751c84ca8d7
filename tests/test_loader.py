import pytest
import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from mnist_walkthrough import DataLoader, ImageDataset, cross_entropy, digits, mlp
from mnist_walkthrough.loader import RandomOrder, score, spread, train_loop
from mnist_walkthrough.net import max_difference


@pytest.fixture
def pair():
    return torch.arange(20.0).reshape(10, 2), torch.arange(10)


def labels(loader):
    return [yb.tolist() for _, yb in loader]


class Squares:
    "A map-style dataset that is no sequence of tensors: labels are plain numbers."

    def __len__(self):
        return 7

    def __getitem__(self, i):
        return torch.tensor([float(i), i * i]), i


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("batch_size", [1, 3, 5, 10, 11])
def test_batches_partition_the_data_as_torchs_do(pair, batch_size, drop_last, shuffle):
    g = [torch.Generator().manual_seed(1) for _ in range(2)]
    ours = DataLoader(pair, batch_size, shuffle, drop_last, g[0])
    sampler = RandomOrder(10, g[1]) if shuffle else None
    torchs = TorchLoader(TensorDataset(*pair), batch_size, sampler=sampler, drop_last=drop_last)
    assert len(ours) == len(torchs)
    for _ in range(3):
        batches = list(ours)
        assert [len(yb) for _, yb in batches] == [len(yb) for _, yb in torchs]
        seen = [y for _, yb in batches for y in yb.tolist()]
        assert len(set(seen)) == len(seen) == (10 // batch_size * batch_size if drop_last else 10)
        for xb, yb in batches:
            assert torch.equal(xb, pair[0][yb])


def test_same_permutations_same_batches(pair):
    g = [torch.Generator().manual_seed(1) for _ in range(2)]
    ours = DataLoader(pair, 3, shuffle=True, generator=g[0])
    torchs = TorchLoader(TensorDataset(*pair), 3, sampler=RandomOrder(10, g[1]))
    epochs = [labels(ours) for _ in range(3)]
    assert epochs == [labels(torchs) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]


def test_no_generator_means_torchs_global_one(pair):
    loader = DataLoader(pair, 3, shuffle=True)
    first, again = (torch.manual_seed(5) and labels(loader) for _ in range(2))
    assert first == again
    torch.manual_seed(5)
    assert sum(first, []) == torch.randperm(10).tolist()


def test_a_given_generator_leaves_the_global_one_alone(pair):
    before = torch.get_rng_state()
    labels(DataLoader(pair, 3, shuffle=True, generator=torch.Generator()))
    assert torch.equal(before, torch.get_rng_state())


def test_any_map_style_dataset():
    (xb, yb), *_ = DataLoader(Squares(), 5)
    assert xb.tolist() == [[i, i * i] for i in range(5)]
    assert yb.tolist() == [0, 1, 2, 3, 4]
    (xb, yb), *_ = DataLoader([(torch.ones(2), 7)], 1)
    assert (xb.tolist(), yb.tolist()) == ([[1, 1]], [7])


@pytest.mark.parametrize(
    ("dataset", "batch_size", "message"),
    [
        ((torch.zeros(3), torch.zeros(3)), 0, "batch_size is a whole number from 1 on, got 0"),
        ((torch.zeros(3), torch.zeros(3)), -1, "got -1"),
        ((torch.zeros(3), torch.zeros(3)), 2.0, "got 2.0"),
        ((torch.zeros(3), torch.zeros(3)), "2", "got '2'"),
        (
            (torch.zeros(3), torch.zeros(2)),
            1,
            r"equally many rows, got the shapes \[\[3\], \[2\]\]",
        ),
        ((torch.zeros(3),), 1, r"a pair \(x, y\)"),
        ((torch.zeros(0, 4), torch.zeros(0)), 1, "empty"),
        ([], 1, "empty"),
    ],
)
def test_bad_input_is_refused_with_a_reason(dataset, batch_size, message):
    with pytest.raises(ValueError, match=message):
        DataLoader(dataset, batch_size)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TensorDataset(torch.zeros(4, 2), torch.arange(4)),
        lambda: ImageDataset(digits() / "testing", num_samples=1),
    ],
    ids=["tensors", "images"],
)
def test_tensors_are_taken_at_once_not_row_by_row(make, monkeypatch):
    dataset = make()
    monkeypatch.delattr(type(dataset), "__getitem__")
    (_, yb), *_ = DataLoader(dataset, 3)
    assert yb.tolist() == [0, 1, 2]


def test_a_data_set_that_makes_its_rows_is_asked_for_each():
    class Doubled(TensorDataset):
        def __getitem__(self, i):
            x, y = super().__getitem__(i)
            return 2 * x, y

    ((xb, yb),) = DataLoader(Doubled(torch.ones(3, 2), torch.arange(3)), 3)
    assert (xb.tolist(), yb.tolist()) == ([[2, 2]] * 3, [0, 1, 2])


def test_a_random_order_is_of_plain_numbers():
    order = list(RandomOrder(5))
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert {type(i) for i in order} == {int}
    assert list(RandomOrder(0)) == []


def test_the_bare_loop_is_torchs():
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    ours, library = (mlp(2, 4, 3, generator=g) for g in generators)
    batches = [(torch.rand(5, 2), torch.arange(5) % 3) for _ in range(4)]
    train_loop(ours, batches, torch.optim.SGD(ours.parameters(), 0.1), cross_entropy, 3)
    optimizer = torch.optim.SGD(library.parameters(), 0.1)
    for xb, yb in batches * 3:
        optimizer.zero_grad()
        cross_entropy(library(xb), yb).backward()
        optimizer.step()
    assert max_difference(ours, library) == 0


def test_a_score_is_the_share_of_right_answers_and_takes_no_gradients():
    gradients = []

    def model(x):
        gradients.append(torch.is_grad_enabled())
        return x

    share = score(model, TensorDataset(torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 2])))
    assert (share, type(share), gradients) == (0.75, float, [False])


def test_spread_is_mean_and_sample_deviation_in_percent():
    assert spread(share for share in [0.5, 0.52, 0.54]) == "52.0 ± 2.0 %"
