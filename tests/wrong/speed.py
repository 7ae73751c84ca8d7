"Plausible wrong answers to the exercises of stage 11, each with what its check has to say."

import itertools
import math

import torch


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


def standardised_first(grad, xb, mean, std):
    return grad.T @ ((xb.to(grad.dtype) / 255 - mean) / std)


def standardised_in_place(grad, xb, mean, std):
    return grad.T @ xb.to(grad.dtype).div_(255).sub_(mean).div_(std)


def from_bytes(grad, xb, mean, std, shares=None):
    shares = grad.sum(0)[:, None] if shares is None else shares
    return grad.T @ xb.to(grad.dtype) / (255 * std) - mean / std * shares


def mean_not_divided(grad, xb, mean, std):
    return grad.T @ xb.to(grad.dtype) / (255 * std) - mean * grad.sum(0)[:, None]


def only_scaled(grad, xb, mean, std):
    return from_bytes(grad, xb, 0.0, std)


def without_deviation(grad, xb, mean, std):
    return from_bytes(grad, xb, mean, 1.0)


def without_255(grad, xb, mean, std):
    return 255 * from_bytes(grad, xb, mean / 255, std)


def mean_of_grad(grad, xb, mean, std):
    return from_bytes(grad, xb, mean, std, grad.mean(0)[:, None])


def mean_once(grad, xb, mean, std):
    return from_bytes(grad, xb, mean, std, 1.0)


def of_bytes(grad, xb, mean, std):
    return from_bytes(grad, xb, mean, std).to(torch.uint8)


WRONG = {
    "fooled_rulers": [
        (([1.0] * 5, [2.0] * 5), "the ratio of the means is 0.5"),
        (([1, 1, 1, 1, 90], [2, 2, 2, 2, 2]), "the ratio of the medians is 0.5"),
        (([1, 3, 9, 27, 100], [2, 6, 18, 54, 5]), "the ratio of the fastest rounds is 0.5"),
        (([1, 2, 3, 30, 40], [2, 4, 6, 10, 10]), "in 3 of the rounds"),
        (([1.0] * 4, [2.0] * 4), "expected a list of five times"),
        (([1, 3, 9, 27, 100], [2, 6, 18, 54, 0]), "each a number above 0"),
        ([1, 3, 9, 27, 100], "expected a pair"),
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
    "gradient_from_bytes": [
        (standardised_first, "by _to_copy, div, sub, div; expected once"),
        (standardised_in_place, "by _to_copy, div_, sub_, div_; expected once"),
        (only_scaled, "the mean is missing"),
        (without_deviation, "the deviation is missing"),
        (without_255, "a byte counts as a 255th"),
        (mean_not_divided, "the mean is divided by the deviation as well"),
        (mean_of_grad, "for 7 rows of 5, a layer of 2, mean 0.25"),
        (mean_once, "once for each row, with its grad"),
        (
            lambda grad, xb, mean, std: from_bytes(grad, xb, mean, std).T,
            "the result has shape [5, 2]",
        ),
        (of_bytes, "the result is uint8"),
    ],
}
