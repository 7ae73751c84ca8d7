"Checks of the exercises of stage 12, accuracy."

import itertools
import math
import statistics
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_walkthrough.check.core import (
    Without,
    Wrong,
    call,
    exercise,
    nothing_or_type,
    plain_number,
    same,
    same_number,
    seeded,
    slips,
)


@exercise(stage=12)
def calm_start(
    answer: Any,  # A function: `answer(beta1)`, from 0 to below 1, gives beta2
) -> None:
    "Find the beta2 with which Adam without its corrections begins with a step of one learning rate."
    for beta1 in (0.9, 0.5, 0.99, 0.75):
        case = f"for beta1 = {beta1}"
        beta2 = plain_number(call(answer, beta1, case=case))
        if type(beta2) not in (int, float):
            raise Wrong(f"{case}: the result is {nothing_or_type(beta2)}; expected a number")
        if not 0 <= beta2 < 1:
            raise Wrong(f"{case}: beta2 is {beta2}; it is from 0 to below 1")
        for gradient in (1.0, -0.02):
            mean, square = (1 - beta1) * gradient, (1 - beta2) * gradient**2
            length = abs(mean) / math.sqrt(square)
            if not abs(length - 1) <= 1e-6:
                why = ""
                if math.isclose(beta2, beta1):
                    why = ": equal betas do not cancel, one mean is under a root"
                elif math.isclose(1 - beta2, math.sqrt(1 - beta1)):
                    why = ": the square belongs on the other side"
                raise Wrong(
                    f"{case} and your beta2 = {beta2:.6g} the first step is {length:.6g} learning "
                    f"rates long; expected 1{why}"
                )


def trapezoids(t: float, up: float, down: float) -> tuple[float, dict[str, float]]:
    "What a trapezoid is at t, and what comes of slips."

    def at(up: float, down: float, base: float = 0.0) -> float:
        rising = base + (1 - base) * t / up if up > 0 else 1.0
        falling = (1 - t) / down if down > 0 else 1.0
        return min(1.0, rising, falling)

    end = 1 - down
    return at(up, down), {
        "it never falls; the last part goes down to 0": at(up, 0.0),
        "it does not rise; the first part goes up from 0": at(0.0, down),
        "it falls from the end of the rise on; between the two parts it stays at 1": (
            t / up if up and t < up else (1 - t) / (1 - up)
        ),
        "down is where the fall begins; it is the share of the run that it takes": (
            at(up, 1 - down) if down < 1 else math.nan
        ),
        "during the fall it is the share that is over, not the share that is left": (
            (t - end) / down if down and t > end else at(up, down)
        ),
    }


@exercise(stage=12)
def trapezoid(
    answer: Any,  # A function: `answer(t, up, down)` gives the share of the peak
) -> None:
    "Write the schedule that rises, stays and falls, in straight lines."
    for up, down in ((0.2, 0.4), (0.25, 0.75), (0.0, 0.5), (0.5, 0.0), (0.0, 0.0), (0.1, 0.1)):
        for t in (0.1, 0.9, 0.0, 0.05, 0.2, 0.45, 0.5, 0.7, 0.75, 0.95, 1.0):
            case = f"for t={t}, up={up} and down={down}"
            expected, known = trapezoids(t, up, down)
            got = call(answer, t, up, down, case=case)
            with slips(plain_number(got), expected, known):
                same_number(got, expected, case)


def runs_of_two(n: int, draw: torch.Generator) -> tuple[dict[int, float], dict[int, float]]:
    "Accuracies by seed, of the same seeds in two orders, and one more seed on each side."
    level = 0.84 + 0.01 * torch.randn(n, generator=draw, dtype=torch.float64)
    gain = 0.002 + 0.003 * torch.randn(n, generator=draw, dtype=torch.float64)
    before = dict(enumerate(level.tolist()))
    after = {
        seed: (level + gain)[seed].item() for seed in torch.randperm(n, generator=draw).tolist()
    }
    return before | {n: 0.7}, after | {n + 1: 0.9}


@exercise(stage=12)
def paired_gain(
    answer: Any,  # A function: `answer(before, after)`, accuracies by seed, gives (mean, error)
) -> None:
    "Compute the mean gain of the runs that have a pair, and its error (12.1)."
    draw = seeded(0)
    cases = [
        ({0: 0.80, 1: 0.84, 2: 0.82}, {0: 0.81, 1: 0.86, 2: 0.82}),
        ({4: 0.5, 8: 0.7}, {4: 0.6, 8: 0.8}),
        ({3: 0.90, 1: 0.80, 2: 0.70}, {1: 0.81, 2: 0.75, 3: 0.90}),
        ({0: 0.8, 1: 0.9, 2: 0.7, 5: 0.6}, {0: 0.8, 1: 0.8, 2: 0.8, 6: 0.9}),
        runs_of_two(10, draw),
        runs_of_two(40, draw),
    ]
    for before, after in cases:
        case = f"for {before} and {after}" if len(before) < 10 else f"for {len(before)} runs each"
        pairs = [(before[seed], after[seed]) for seed in before if seed in after]
        d, n = [b - a for a, b in pairs], len(pairs)
        mean, std = statistics.fmean(d), statistics.stdev(d)
        by_place = [b - a for a, b in zip(before.values(), after.values(), strict=True)]
        got = call(answer, dict(before), dict(after), case=case)
        if type(got) not in (tuple, list) or len(got) != 2:
            raise Wrong(f"{case}: the result is {nothing_or_type(got)}; expected (mean, error)")
        known = {
            "it is after minus before": -mean,
            "a seed that only one side has does not count": statistics.fmean(by_place),
        }
        with slips(plain_number(got[0]), mean, known):
            same_number(got[0], mean, case, "the mean gain", tolerance=1e-9)
        variances = sum(map(statistics.variance, zip(*pairs, strict=True)))
        known = {
            "this is the deviation of the gains; divide it by the root of their number": std,
            "the squares are divided by n - 1, not by n": statistics.pstdev(d) / math.sqrt(n),
            "this is the error for runs that are not paired": math.sqrt(variances / n),
            "the runs are paired by their seed, not by their place": (
                statistics.stdev(by_place) / math.sqrt(len(by_place))
            ),
            "this is the deviation divided by n, not by its root": std / n,
            "this is the variance; take its root": std**2 / n,
        }
        with slips(plain_number(got[1]), std / math.sqrt(n), known):
            same_number(got[1], std / math.sqrt(n), case, "the error", tolerance=1e-9)


def best_by_trying(accuracies: list[float], k: int) -> float:
    return statistics.fmean(max(some) for some in itertools.combinations(accuracies, k))


@exercise(stage=12)
def best_of(
    answer: Any,  # A function: `answer(accuracies, k)` gives the expected best of k
) -> None:
    "Compute what the best of k runs shows on average, from the accuracies of n runs."
    draw = seeded(1)
    cases = [([0.1, 0.2, 0.5], 2), ([0.5], 1), ([0.3, 0.9, 0.6, 0.6], 3), ([0.7, 0.2], 1)]
    cases.append(([0.84, 0.84, 0.86, 0.81, 0.83], 5))
    cases.append((torch.rand(9, generator=draw, dtype=torch.float64).tolist(), 4))
    for accuracies, k in cases:
        n = len(accuracies)
        case = f"for {accuracies if n < 9 else f'{n} accuracies'} and k={k}"
        expected = best_by_trying(accuracies, k)
        got = call(answer, accuracies, k, case=case)
        again = statistics.fmean(map(max, itertools.product(accuracies, repeat=min(k, 4))))
        known = {
            "this is the best of all; the mean over all choices of k is asked": max(accuracies),
            "this is the mean of all; of each k the best counts": statistics.fmean(accuracies),
            "this is the best of the first k; all choices of k count": max(accuracies[:k]),
            "this is the mean of the k best": statistics.fmean(sorted(accuracies)[-k:]),
            "no run is drawn twice": again,
        }
        with slips(plain_number(got), expected, known):
            same_number(got, expected, case)
    many = torch.rand(60, generator=draw, dtype=torch.float64).tolist()
    ranked = sorted(many)
    expected = sum(
        a * math.comb(i, 29) / math.comb(60, 30) for i, a in enumerate(ranked) if i >= 29
    )
    case = "for 60 accuracies and k=30, of which there are 10**17 choices"
    same_number(call(answer, many, 30, case=case), expected, case)


def mixed_targets(y: Tensor, order: Tensor, share: float, k: int, dtype: torch.dtype) -> Tensor:
    return share * F.one_hot(y, k).to(dtype) + (1 - share) * F.one_hot(y[order], k).to(dtype)


@exercise(stage=12)
def mixup_loss(
    answer: Any,  # `answer(logits, target, order, share)` gives the loss, a scalar
) -> None:
    "Write the cross-entropy against targets that are mixed of two."
    draw = seeded(2)
    instead = "log_softmax is allowed, cross_entropy and nll_loss are not"
    for n, k, dtype, scale in (
        (1, 3, torch.float32, 1.0),
        (5, 10, torch.float32, 1.0),
        (4, 2, torch.float64, 1.0),
        (64, 10, torch.float32, 1000.0),
        (7, 1, torch.float32, 1.0),
    ):
        logits = scale * torch.randn(n, k, generator=draw, dtype=dtype)
        y, order = torch.randint(k, (n,), generator=draw), torch.randperm(n, generator=draw)
        for share in (0.3, 1.0, 0.0, 0.5):
            case = f"for {n} rows, {k} classes and share={share}"
            if scale > 1:
                case += ", with logits of about a thousand"
            with Without(F.cross_entropy, F.nll_loss, instead=instead):
                got = call(answer, logits, y, order, share, case=case)
            expected = F.cross_entropy(logits, mixed_targets(y, order, share, k, dtype))
            swapped = F.cross_entropy(logits, mixed_targets(y, order, 1 - share, k, dtype))
            known = {
                "share belongs to the own target, 1 - share to the other's": swapped,
                "this is the loss for the own targets; they are mixed": F.cross_entropy(logits, y),
                "this is a sum over the rows; their mean is asked": expected * n,
                "the logits are in the order of their rows; only the other targets are reordered": (
                    share * F.cross_entropy(logits, y)
                    + (1 - share) * F.cross_entropy(logits[order], y)
                ),
                "the sign is wrong": -expected,
            }
            with slips(
                got,
                expected,
                known,
                not_finite="softmax and then log overflows for large logits; log_softmax does not",
            ):
                same(got, expected, case)
