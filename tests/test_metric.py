import matplotlib.pyplot as plt
import pytest
import torch
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from mnist_walkthrough import Mean, accuracy, binomial_interval, confusion_matrix, show_confusion


@pytest.fixture
def answers():
    g = torch.Generator().manual_seed(0)
    return torch.randn(1000, 10, generator=g), torch.randint(10, (1000,), generator=g)


def test_accuracy_equals_torchmetrics(answers):
    library = MulticlassAccuracy(10, average="micro")
    assert accuracy(*answers).item() == pytest.approx(library(*answers).item(), abs=1e-7)


@pytest.mark.parametrize("batch_size", [1, 7, 256, 999, 1000])
def test_mean_equals_torchmetrics_and_does_not_see_the_cuts(answers, batch_size):
    ours, library = Mean(), MeanMetric()
    for part in zip(*(t.split(batch_size) for t in answers), strict=True):
        ours.update(accuracy(*part), len(part[0]))
        library.update(accuracy(*part), len(part[0]))
    assert ours.compute() == pytest.approx(library.compute().item(), abs=1e-6)
    assert ours.compute() == pytest.approx(accuracy(*answers).item(), abs=1e-7)


def test_mean_can_be_reset_and_refuses_to_be_of_nothing():
    mean = Mean()
    mean.update(1.0, 5)
    mean.reset()
    with pytest.raises(ValueError, match="mean of nothing"):
        mean.compute()
    mean.update(0.25, 4)
    assert mean.compute() == 0.25


def test_confusion_matrix_equals_torchmetrics(answers):
    assert torch.equal(confusion_matrix(*answers), MulticlassConfusionMatrix(10)(*answers))


def test_accuracy_refuses_what_does_not_fit():
    for n_rows, n_targets in ((3, 2), (0, 0)):
        with pytest.raises(ValueError, match=rf"got \[{n_rows}, 10\] and \[{n_targets}\]"):
            accuracy(torch.zeros(n_rows, 10), torch.zeros(n_targets, dtype=torch.int64))


def test_interval_against_published_values():
    "Wilson's intervals as in Newcombe 1998, Statistics in Medicine 17, table I, method 3."
    assert binomial_interval(81, 263, 1.959964) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert binomial_interval(15, 148, 1.959964) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert binomial_interval(0, 20, 1.959964) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert binomial_interval(1, 29, 1.959964) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_interval_holds_the_share_and_stays_within_0_and_1():
    "Also where rounding would carry it out: 1 of 1."
    for n in range(1, 200):
        for n_right in {0, n // 2, n}:
            low, high = binomial_interval(n_right, n)
            assert 0 <= low < n_right / n + 1e-15
            assert n_right / n - 1e-15 < high <= 1


@pytest.mark.parametrize(("n_right", "n"), [(-1, 5), (6, 5), (0, 0)])
def test_interval_refuses_what_is_no_count(n_right, n):
    with pytest.raises(ValueError, match="need 0 <= n_right <= n|n_right is a whole number"):
        binomial_interval(n_right, n)


def test_confusion_picture_shows_every_count(answers):
    matrix = confusion_matrix(*answers)
    matrix[0, 1] = matrix[2, 2] = 0
    show_confusion(matrix)
    (ax,) = plt.gcf().axes
    assert sorted(int(t.get_text()) for t in ax.texts) == sorted(matrix[matrix > 0].tolist())
    assert ax.get_title() == f"{matrix.diag().sum()} of {matrix.sum()} right"
    bold = [int(t.get_text()) for t in ax.texts if t.get_weight() == "bold"]
    assert bold == [n for n in matrix.diag().tolist() if n]
    plt.close("all")


def test_what_would_broadcast_is_refused():
    z, y = torch.rand(4, 3), torch.tensor([0, 1, 2, 0])
    with pytest.raises(ValueError, match="a class for each row"):
        accuracy(z, y[:, None])
    for wrong in (y[:1], y + 1):
        with pytest.raises(ValueError, match=r"a class for each row|target\[2\] is 3"):
            confusion_matrix(z, wrong)
