"Checks of the exercises of stage 6, metric."

import math
import random
import statistics
from typing import Any

import torch
from torch import Tensor

from mnist_walkthrough.check.core import Wrong, call, exercise, nothing_or_type, same, same_number
from mnist_walkthrough.check.loss import classes, normal, slips


@exercise(stage=6)
def misleading_batches(
    answer: Any,  # A list of pairs (right answers, answers), one for each batch
) -> None:
    "Find batches, as a loader cuts them, whose mean of batch means is wrong by more than 30 points."
    if type(answer) not in (list, tuple):
        raise Wrong(f"it is {nothing_or_type(answer)}; give a list of pairs (right, size)")
    if not answer:
        raise Wrong("it is empty; give a pair (right, size) for each batch")
    for i, pair in enumerate(answer):
        if type(pair) not in (list, tuple) or [type(n) for n in pair] != [int, int]:
            raise Wrong(f"batch {i} is {pair!r}; expected a pair of whole numbers (right, size)")
        if pair[1] < 1:
            raise Wrong(f"batch {i} has size {pair[1]}; a batch has one row at least")
        if not 0 <= pair[0] <= pair[1]:
            raise Wrong(f"batch {i}: {pair[0]} right of {pair[1]} cannot be")
    right, sizes = zip(*answer, strict=True)
    for i, size in enumerate(sizes):
        if size != sizes[0] and (i < len(sizes) - 1 or size > sizes[0]):
            raise Wrong(
                f"batch {i} has size {size}, the first one {sizes[0]}; a loader's batches are all of "
                "one size, but for the last, which may be smaller"
            )
    mean = statistics.fmean(n / size for n, size in answer)
    truth = sum(right) / sum(sizes)
    if not abs(mean - truth) > 0.3:
        why = (
            "batches of one size may weigh the same"
            if len(set(sizes)) == 1
            else f"of {len(sizes)} batches each weighs 1/{len(sizes)}"
        )
        raise Wrong(
            f"for this epoch the mean of the batch means is {mean:.1%}, right is {truth:.1%}, "
            f"{100 * abs(mean - truth):.1f} points apart; expected more than 30: {why}"
        )


@exercise(stage=6)
def top2_accuracy(
    answer: Any,  # A function: `answer(logits, target)` gives the share, from 0 to 1
) -> None:
    "Write the share of rows whose target has one of the two largest logits, ties decided by the class number."
    cases: list[tuple[str, Tensor, Tensor]] = [
        (f"for logits {z} and target {y}", torch.tensor(z), torch.tensor(y))
        for z, y in (
            ([[3.0, 1.0, 2.0]], [2]),
            ([[3.0, 1.0, 2.0], [0.0, 4.0, 5.0], [2.0, 1.0, 0.0]], [0, 0, 2]),
            ([[5.0, 0.0, 0.0]] * 3, [1, 2, 2]),
            ([[1.0, 0.0, 1.0, 1.0]], [2]),
            ([[1.0, 0.0, 1.0, 1.0]], [3]),
            ([[0.0] * 10], [0]),
            ([[0.0] * 10], [1]),
            ([[0.0] * 10], [2]),
            ([[-1.0, -2.0]], [1]),
            ([[0.5], [0.1]], [0, 0]),
        )
    ]
    for n, n_classes in ((7, 3), (1000, 10)):
        z, y = normal(n, n_classes), classes(n, n_classes)
        cases.append((f"for a batch of {n} with {n_classes} classes", z, y))
        cases.append((f"for a batch of {n} in float64 with many ties", z.round().double(), y))
    for case, z, y in cases:
        own, number = z.gather(1, y[:, None]), torch.arange(z.shape[1])
        larger, equal = z > own, z == own
        before = larger | (equal & (number < y[:, None]))
        hits = before.sum(1) < 2
        expected = hits.double().mean().item()
        got = call(answer, z, y, case=case)
        known = {
            "a target counts as soon as its logit equals one of the two largest; of equal logits "
            "that of the lower class number goes first": (
                (z >= z.topk(min(2, z.shape[1]), 1).values[:, -1:]).gather(1, y[:, None])
            )
            .double()
            .mean(),
            "of equal logits that of the lower class number goes first, not that of the higher": (
                ((larger | (equal & (number > y[:, None]))).sum(1) < 2).double().mean()
            ),
            "a target whose logit others equal is counted as if all of them went first": (
                ((larger | equal).sum(1) <= 2).double().mean()
            ),
            "this is how often the largest logit is the target's; the second counts too": (
                (before.sum(1) < 1).double().mean()
            ),
            "this is how often the second largest is the target's; the largest counts too": (
                (before.sum(1) == 1).double().mean()
            ),
            "this is a count; divide it by the number of rows": hits.double().sum(),
            "this is half of it; a row is a hit or none": hits.double().mean() / 2,
        }
        with slips(got, expected, known):
            same_number(got, expected, case)


@exercise(stage=6)
def precision_recall_f1(
    answer: Any,  # A function: `answer(matrix)` maps int64 [k, k] to three tensors, float32 [k]
) -> None:
    "Write precision, recall and F1 of each class from a confusion matrix; 0/0 counts as 0."
    matrices = [
        torch.tensor(m)
        for m in (
            [[8, 2], [4, 6]],
            [[5, 0, 1], [2, 0, 3], [0, 0, 4]],
            [[3, 1, 0], [0, 0, 0], [2, 2, 7]],
            [[2, 0, 1], [0, 0, 0], [1, 0, 3]],
            [[0, 3], [2, 0]],
            [[4]],
        )
    ]
    count = torch.Generator().manual_seed(0)
    matrices.append(torch.randint(1000, (10, 10), generator=count))
    names = ("precision", "recall", "F1")
    for m in matrices:
        case = f"for the matrix {m.tolist()}" if len(m) < 10 else "for 10 classes"
        hits, given, true = m.diagonal().double(), m.sum(0).double(), m.sum(1).double()
        precision, recall = hits / given.clamp(min=1), hits / true.clamp(min=1)
        f1 = 2 * hits / (given + true).clamp(min=1)
        got = call(answer, m, case=case)
        if type(got) not in (tuple, list) or len(got) != 3:
            raise Wrong(f"{case}: it gives {nothing_or_type(got)}; expected three tensors")
        of_all = "this is a share of all answers; divide by the sum of the class's"
        slip = {
            "precision": {
                "this is the recall; a class's answers are its column": recall,
                "0/0 counts as 0: no answer was this class": hits / given,
                f"{of_all} column": hits / m.sum(),
            },
            "recall": {
                "this is the precision; a class's examples are its row": precision,
                "0/0 counts as 0: no example is of this class": hits / true,
                f"{of_all} row": hits / m.sum(),
            },
            "F1": {
                "this is the ordinary mean of the two; F1 is the harmonic one": (
                    (precision + recall) / 2
                ),
                "0/0 counts as 0: precision and recall are both 0": (
                    2 * precision * recall / (precision + recall)
                ),
                "the harmonic mean has a 2 above the line": f1 / 2,
            },
        }
        for name, part, expected in zip(names, got, (precision, recall, f1), strict=True):
            with slips(part, expected, slip[name]):
                same(part, expected.float(), case, name)


@exercise(stage=6)
def merge_halves(
    answer: Any,  # A function: `answer(a, b)`, each (count, mean, variance), gives those of both
) -> None:
    "Write what merges two halves' count, mean and variance into those of all, without the items."
    draw = random.Random(0)
    few = [draw.gauss(0, 1) for _ in range(3)]
    many = [draw.gauss(5, 2) for _ in range(97)]
    halves = {
        "for halves [1, 3, 5] and [9]": ([1.0, 3.0, 5.0], [9.0]),
        "for halves [1] and [5, 7]": ([1.0], [5.0, 7.0]),
        "for halves [4] and [9]": ([4.0], [9.0]),
        "for halves of 3 and of 97 items": (few, many),
        "for an empty half and [1, 3]": ([], [1.0, 3.0]),
        "for [1, 3] and an empty half": ([1.0, 3.0], []),
        "for two empty halves": ([], []),
        "for halves of numbers near 1e9, whose squares a float cannot tell apart": (
            [x + 1e9 for x in many],
            [x + 1e9 for x in few],
        ),
    }
    for case, (a, b) in halves.items():
        (n_a, mean_a, var_a), (n_b, mean_b, var_b) = summary(a), summary(b)
        n, mean, var = summary(a + b)
        got = call(answer, summary(a), summary(b), case=case)
        if type(got) not in (tuple, list) or len(got) != 3:
            raise Wrong(
                f"{case}: it gives {nothing_or_type(got)}; expected (count, mean, variance)"
            )
        share = n_a / n if n else 0.0
        within = share * var_a + (1 - share) * var_b
        known: dict[str, dict[str, float]] = {
            "count": {"this is the count of one half": max(n_a, n_b)},
            "mean": {
                "each half weighs the same, whatever its count": (mean_a + mean_b) / 2,
                "this is the sum of both means": mean_a + mean_b,
            },
            "variance": {
                "this is the mean of the two variances; how far the means lie apart is missing": (
                    within
                ),
                "each half weighs the same, and how far the means lie apart is missing": (
                    (var_a + var_b) / 2
                ),
                "this is the standard deviation": math.sqrt(var),
                "the squares are divided by the count, not by one less": var * n / max(n - 1, 1),
            },
        }
        for what, value, expected in zip(known, got, (n, mean, var), strict=True):
            with slips(value, expected, known[what]):
                same_number(value, expected, case, f"the {what}")


def summary(items: list[float]) -> tuple[int, float, float]:
    "Count, mean and variance, the last two 0 where there is nothing."
    if not items:
        return 0, 0.0, 0.0
    return len(items), statistics.fmean(items), statistics.pvariance(items)


@exercise(stage=6)
def mcnemar(
    answer: Any,  # A function: `answer(right_a, right_b)`, both bool [n], gives the p-value
) -> None:
    "Write the exact test whether two nets, judged on the same digits, differ by more than chance."
    for both, only_a, only_b, neither in (
        (3, 1, 4, 2),
        (3, 4, 1, 2),
        (0, 0, 6, 0),
        (820, 21, 35, 124),
        (5, 2, 2, 1),
        (9, 0, 0, 1),
        (0, 1, 0, 0),
        (100, 900, 960, 40),
    ):
        case = (
            f"for {both} digits that both have right, {only_a} that only A has, {only_b} that only B "
            f"has and {neither} that neither has"
        )
        counts = torch.tensor([both, only_a, only_b, neither])
        n, m = only_a + only_b, both + only_a + only_b + neither
        order = torch.randperm(m, generator=torch.Generator().manual_seed(m))
        right_a, right_b = (
            torch.tensor(right).repeat_interleave(counts)[order]
            for right in ([True, True, False, False], [True, False, True, False])
        )
        one_side = at_most(min(only_a, only_b), n)
        expected = min(1.0, 2 * one_side)
        got = call(answer, right_a, right_b, case=case)
        a, b = both + only_a, both + only_b
        pooled = (a + b) / (2 * m)
        one_count = 2 * (one_side - at_most(min(only_a, only_b) - 1, n))
        known = {
            "this is one side alone; as lopsided the other way counts too": one_side,
            "a probability is at most 1": 2 * one_side,
            "this takes the two for judged on different digits": normal_p(
                (a - b) / m, math.sqrt(2 * pooled * (1 - pooled) / m)
            ),
            "this is the normal approximation; count exactly": normal_p(
                only_a - only_b, math.sqrt(n)
            ),
            "this is the normal approximation, with a correction; count exactly": normal_p(
                max(abs(only_a - only_b) - 1, 0), math.sqrt(n)
            ),
            "this is 1 minus the p-value": 1 - expected,
            "the count that is as lopsided as this one belongs to the sum": min(
                1.0, 2 * at_most(min(only_a, only_b) - 1, n)
            ),
            "this is the probability of this very count; add those of all that are more lopsided": (
                min(1.0, one_count)
            ),
            "this is the probability of this very count, on one side; add those of all that are "
            "more lopsided, and as lopsided the other way": one_count / 2,
            "all right answers are compared; what both get right is no toss": min(
                1.0, 2 * at_most(min(a, b), a + b)
            ),
            "all digits count as tosses; only those that one net alone has right are": min(
                1.0, 2 * at_most(min(only_a, only_b), m)
            ),
        }
        with slips(got, expected, known):
            same_number(got, expected, case)


def at_most(k: int, n: int) -> float:
    "The probability of at most `k` heads of `n` coins."
    heads = torch.arange(k + 1, dtype=torch.float64)
    coins = torch.distributions.Binomial(n, torch.tensor(0.5, dtype=torch.float64))
    return float(coins.log_prob(heads).exp().sum())


def normal_p(difference: float, deviation: float) -> float:
    "Two-sided p-value of a normal variable."
    return math.erfc(abs(difference) / deviation / math.sqrt(2)) if deviation else 1.0
