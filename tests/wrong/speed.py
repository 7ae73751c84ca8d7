"Plausible wrong answers to the exercises of stage 11, each with what its check has to say."

import itertools
import math
import statistics

import torch


def ratios(ours, theirs):
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def quartiles(values):
    return statistics.quantiles(values, n=4, method="inclusive")


def with_middle(middle):
    "The right spread round another middle."

    def answer(ours, theirs):
        low, _, high = quartiles(ratios(ours, theirs))
        return low, middle(ours, theirs), high

    return answer


def exclusive(ours, theirs):
    return statistics.quantiles(ratios(ours, theirs), n=4)


def extremes(ours, theirs):
    r = ratios(ours, theirs)
    return min(r), statistics.median(r), max(r)


def deviation(ours, theirs):
    r = ratios(ours, theirs)
    middle, std = statistics.median(r), statistics.stdev(r)
    return middle - std, middle, middle + std


def median_alone(ours, theirs):
    return statistics.median(ratios(ours, theirs))


def sorted_first(ours, theirs):
    return quartiles(ratios(sorted(ours), sorted(theirs)))


def negative(share, goal):
    return share / (1 / goal - (1 - share)) if 1 / goal != 1 - share else math.inf


def no_infinity(share, goal):
    return share / (1 / goal - (1 - share))


def turned_over(share, goal):
    return max(0, (1 / goal - (1 - share)) / share)


def layers(sizes):
    return [a * b for a, b in itertools.pairwise(sizes)]


def counted(sizes, n):
    return n * (3 * sum(layers(sizes)) - layers(sizes)[0])


def plain_index(x, order, batch_size):
    for i in order.split(batch_size):
        yield x[i]


def copied(x, order, batch_size):
    buffer = x.new_empty(batch_size, *x.shape[1:])
    for i in order.split(batch_size):
        yield buffer[: len(i)].copy_(x[i])


def resized(x, order, batch_size):
    buffer = x.new_empty(batch_size, *x.shape[1:])
    for i in order.split(batch_size):
        yield torch.index_select(x, 0, i, out=buffer)


def all_at_once(x, order, batch_size):
    yield from x[order].split(batch_size)


def no_short_batch(x, order, batch_size):
    buffer = x.new_empty(batch_size, *x.shape[1:])
    for at in range(0, len(order) - batch_size + 1, batch_size):
        yield torch.index_select(x, 0, order[at : at + batch_size], out=buffer)


def stale_rows(x, order, batch_size):
    buffer = x.new_empty(batch_size, *x.shape[1:])
    for i in order.split(batch_size):
        torch.index_select(x, 0, i, out=buffer[: len(i)])
        yield buffer


def of_floats(x, order, batch_size):
    return buffered(x, order, batch_size, torch.empty(batch_size, *x.shape[1:]))


def all_in_a_list(x, order, batch_size):
    return list(buffered(x, order, batch_size))


def in_order(x, order, batch_size):
    return buffered(x, torch.arange(len(order)) % len(x), batch_size)


def buffered(x, order, batch_size, buffer=None):
    buffer = x.new_empty(batch_size, *x.shape[1:]) if buffer is None else buffer
    for i in order.split(batch_size):
        yield torch.index_select(x, 0, i, out=buffer[: len(i)])


def assigned(grad, x, weight, by_x, by_weight, by_bias):
    by_x, by_weight, by_bias = grad @ weight, grad.T @ x, grad.sum(0)
    return by_x, by_weight, by_bias


def copied_into(grad, x, weight, by_x, by_weight, by_bias):
    if by_x is not None:
        by_x.copy_(grad @ weight)
    by_weight.copy_(grad.T @ x)
    by_bias.copy_(grad.sum(0))


def by_x_too(grad, x, weight, by_x, by_weight, by_bias):
    torch.mm(grad, weight, out=by_x)
    torch.mm(grad.T, x, out=by_weight)
    torch.sum(grad, 0, out=by_bias)


def added(grad, x, weight, by_x, by_weight, by_bias):
    if by_x is not None:
        by_x.addmm_(grad, weight)
    by_weight.addmm_(grad.T, x)
    by_bias.add_(grad.sum(0))


def other_way_round(grad, x, weight, by_x, by_weight, by_bias):
    if by_x is not None:
        torch.mm(grad, weight, out=by_x)
    torch.mm(x.T, grad, out=by_weight)
    torch.sum(grad, 0, out=by_bias)


def mean_of_bias(grad, x, weight, by_x, by_weight, by_bias):
    if by_x is not None:
        torch.mm(grad, weight, out=by_x)
    torch.mm(grad.T, x, out=by_weight)
    torch.mean(grad, 0, out=by_bias)


def spoils_x(grad, x, weight, by_x, by_weight, by_bias):
    torch.mm(grad.T, x, out=by_weight)
    torch.sum(grad, 0, out=by_bias)
    torch.mm(grad, weight, out=x)
    if by_x is not None:
        by_x.copy_(x)


def moved(grad, x, weight, by_x, by_weight, by_bias):
    for buffer, value in (
        (by_x, grad @ weight),
        (by_weight, grad.T @ x),
        (by_bias, grad.sum(0)),
    ):
        if buffer is not None:
            buffer.data = value


WRONG = {
    "paired_ratio": [
        (lambda ours, theirs: quartiles(ratios(theirs, ours)), "it is ours over theirs"),
        (with_middle(lambda a, b: sum(a) / sum(b)), "this is the ratio of the means"),
        (
            with_middle(lambda a, b: statistics.fmean(ratios(a, b))),
            "this is the mean of the ratios",
        ),
        (
            with_middle(lambda a, b: statistics.median(a) / statistics.median(b)),
            "this is the ratio of the medians",
        ),
        (with_middle(lambda a, b: min(a) / min(b)), "this is the ratio of the fastest runs"),
        (sorted_first, "no longer in pairs"),
        (extremes, "this is an extreme"),
        (exclusive, "another definition of a quartile"),
        (deviation, "this is the deviation"),
        (median_alone, "expected (low, median, high)"),
    ],
    "needed_factor": [
        (lambda share, goal: 1 / (1 - share + share / goal), "this is what the whole gains"),
        (lambda share, goal: goal, "the rest does not become faster"),
        (lambda share, goal: goal / share, "add up times"),
        (lambda share, goal: 1 + (goal - 1) / share, "times do"),
        (turned_over, "it is turned over"),
        (negative, "the result is -3; expected infinity"),
        (no_infinity, "raises ZeroDivisionError"),
        (lambda share, goal: None, "expected a number"),
    ],
    "multiplications": [
        (lambda sizes, n: n * sum(layers(sizes)), "this is forward alone"),
        (lambda sizes, n: counted(sizes, n) - n * sum(layers(sizes)), "this is backward alone"),
        (lambda sizes, n: 3 * n * sum(layers(sizes)), "by the pixels is not needed"),
        (lambda sizes, n: 2 * n * sum(layers(sizes)), "by the hidden values are missing"),
        (
            lambda sizes, n: n * (3 * sum(layers(sizes)) - layers(sizes)[-1]),
            "not one by hidden values",
        ),
        (lambda sizes, n: 2 * counted(sizes, n), "additions are not counted"),
        (lambda sizes, n: counted(sizes, 1), "this is for one digit"),
        (lambda sizes, n: counted(sizes, n) + n * sum(sizes[1:]), "it takes no multiplication"),
        (lambda sizes, n: 3 * n * math.prod(sizes), "for widths [784, 30, 10]"),
    ],
    "one_buffer": [
        (plain_index, "each batch lies in memory of its own"),
        (copied, "besides the buffer index makes a tensor [4, 3]"),
        (resized, "give a part of the buffer that fits"),
        (all_at_once, "the buffer has 12 rows"),
        (no_short_batch, "it gives 2 batches; expected 3"),
        (stale_rows, "batch 2 has shape [4, 3]"),
        (of_floats, "raises RuntimeError"),
        (all_in_a_list, "the buffer holds one batch at a time"),
        (in_order, "these are rows in the order of x"),
    ],
    "linear_backward_into": [
        (assigned, "a name that is assigned fills nothing"),
        (copied_into, "mm makes a tensor [5, 3] of its own"),
        (by_x_too, "and by_x = None: mm makes a tensor"),
        (added, "this was added to what the tensor held"),
        (other_way_round, "has another shape than the result"),
        (mean_of_bias, "grad is that already"),
        (spoils_x, "changes x"),
        (moved, "has moved to new memory"),
    ],
}
