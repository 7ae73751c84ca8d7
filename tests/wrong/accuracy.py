"Plausible wrong answers to the exercises of stage 12, each with what its check has to say."

import math
import statistics

import torch
from torch.nn import functional as F


def rising_only(t, up, down):
    return min(1.0, t / up) if up else 1.0


def falling_only(t, up, down):
    return min(1.0, (1 - t) / down) if down else 1.0


def triangle(t, up, down):
    return t / up if up and t < up else (1 - t) / (1 - up)


def from_down_on(t, up, down):
    if up and t < up:
        return t / up
    return 1.0 if t <= down else (1 - t) / (1 - down)


def fall_upside_down(t, up, down):
    if up and t < up:
        return t / up
    return (t - (1 - down)) / down if down and t > 1 - down else 1.0


def divides_by_zero(t, up, down):
    return min(1.0, t / up, (1 - t) / down)


def gains(before, after):
    return [after[seed] - before[seed] for seed in before if seed in after]


def paired(before, after):
    d = gains(before, after)
    return statistics.fmean(d), statistics.stdev(d) / math.sqrt(len(d))


def deviation_of_gains(before, after):
    d = gains(before, after)
    return statistics.fmean(d), statistics.stdev(d)


def not_paired(before, after):
    both = before.keys() & after.keys()
    variances = (statistics.variance(side[seed] for seed in both) for side in (before, after))
    return statistics.fmean(gains(before, after)), math.sqrt(sum(variances) / len(both))


def population(before, after):
    d = gains(before, after)
    return statistics.fmean(d), statistics.pstdev(d) / math.sqrt(len(d))


def loss_not_gain(before, after):
    return paired(after, before)


def over_n(before, after):
    d = gains(before, after)
    return statistics.fmean(d), statistics.stdev(d) / len(d)


def by_place(before, after):
    d = [b - a for a, b in zip(before.values(), after.values(), strict=True)]
    return statistics.fmean(d), statistics.stdev(d) / math.sqrt(len(d))


def all_seeds(before, after):
    mean = statistics.fmean(after.values()) - statistics.fmean(before.values())
    return mean, paired(before, after)[1]


def with_repetition(accuracies, k):
    ranked, n = sorted(accuracies), len(accuracies)
    return sum(a * (((i + 1) / n) ** k - (i / n) ** k) for i, a in enumerate(ranked))


def tries_all(accuracies, k):
    from itertools import combinations, islice

    some = islice(combinations(accuracies, k), 10_000)
    return statistics.fmean(map(max, some))


def log_p(logits):
    return F.log_softmax(logits, 1)


def mixed(logits, target, other, share):
    def nll(y):
        return -log_p(logits).gather(1, y[:, None]).mean()

    return share * nll(target) + (1 - share) * nll(other)


def shares_swapped(logits, target, order, share):
    return mixed(logits, target, target[order], 1 - share)


def not_mixed(logits, target, order, share):
    return mixed(logits, target, target, share)


def overflows(logits, target, order, share):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    own, other = (p.gather(1, y[:, None]).log().mean() for y in (target, target[order]))
    return -share * own - (1 - share) * other


def sum_of_rows(logits, target, order, share):
    return len(target) * mixed(logits, target, target[order], share)


def logits_reordered(logits, target, order, share):
    own, other = (-log_p(z).gather(1, target[:, None]).mean() for z in (logits, logits[order]))
    return share * own + (1 - share) * other


def borrowed(logits, target, order, share):
    own, other = (F.cross_entropy(logits, y) for y in (target, target[order]))
    return share * own + (1 - share) * other


WRONG = {
    "calm_start": [
        (lambda beta1: 0.999, "expected 1"),
        (lambda beta1: beta1, "equal betas do not cancel"),
        (lambda beta1: 1 - math.sqrt(1 - beta1), "the square belongs on the other side"),
        (lambda beta1: (1 - beta1) ** 2, "for beta1 = 0.9 and your beta2 = 0.01"),
        (lambda beta1: 1 + (1 - beta1) ** 2, "it is from 0 to below 1"),
        (lambda beta1: "0.99", "expected a number"),
    ],
    "trapezoid": [
        (rising_only, "it never falls"),
        (falling_only, "it does not rise"),
        (triangle, "between the two parts it stays at 1"),
        (from_down_on, "down is where the fall begins"),
        (fall_upside_down, "not the share that is left"),
        (divides_by_zero, "raises ZeroDivisionError"),
    ],
    "paired_gain": [
        (deviation_of_gains, "divide it by the root of their number"),
        (not_paired, "for runs that are not paired"),
        (population, "divided by n - 1"),
        (loss_not_gain, "it is after minus before"),
        (over_n, "not by its root"),
        (by_place, "paired by their seed, not by their place"),
        (all_seeds, "that only one side has does not count"),
        (lambda before, after: statistics.fmean(gains(before, after)), "expected (mean, error)"),
    ],
    "best_of": [
        (lambda accuracies, k: max(accuracies), "this is the best of all"),
        (lambda accuracies, k: statistics.fmean(accuracies), "this is the mean of all"),
        (lambda accuracies, k: max(accuracies[:k]), "this is the best of the first k"),
        (lambda accuracies, k: statistics.fmean(sorted(accuracies)[-k:]), "mean of the k best"),
        (with_repetition, "no run is drawn twice"),
        (tries_all, "of which there are 10**17 choices"),
    ],
    "mixup_loss": [
        (shares_swapped, "1 - share to the other's"),
        (not_mixed, "this is the loss for the own targets"),
        (overflows, "log_softmax does not"),
        (sum_of_rows, "their mean is asked"),
        (logits_reordered, "only the other targets are reordered"),
        (borrowed, "it calls torch.nn.functional.cross_entropy"),
        (lambda *given: torch.tensor(1.0), "expected"),
    ],
}
