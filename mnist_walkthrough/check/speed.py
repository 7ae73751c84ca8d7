"Checks of the exercises of stage 11, speed."

import itertools
import math
import statistics
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_walkthrough.check.core import (
    Wrong,
    call,
    exercise,
    failures,
    name,
    nothing_or_type,
    plain_number,
    same,
    same_number,
    seeded,
    slips,
    tensors,
)


RULERS: dict[str, Callable[[list[float]], float]] = {
    "means": statistics.fmean,
    "medians": statistics.median,
    "fastest rounds": min,
}


@exercise(stage=11)
def fooled_rulers(
    answer: Any,  # (ours, theirs), the seconds of five rounds each
) -> None:
    "Find times with which ours wins four rounds of five, and three rulers say that it is slower."
    if type(answer) not in (tuple, list) or len(answer) != 2:
        raise Wrong(f"it is {nothing_or_type(answer)}; expected a pair (ours, theirs) of lists")
    for what, times in zip(("ours", "theirs"), answer, strict=True):
        if type(times) not in (tuple, list) or len(times) != 5:
            raise Wrong(f"{what} is {times!r}; expected a list of five times")
        if not all(type(t) in (int, float) and 0 < t < math.inf for t in times):
            raise Wrong(f"{what} is {times!r}; expected seconds, each a number above 0")
    ours, theirs = answer
    won = sum(a <= b / 2 for a, b in zip(ours, theirs, strict=True))
    if won < 4:
        raise Wrong(f"in {won} of the rounds ours takes half as long or less; expected 4")
    for what, ruler in RULERS.items():
        ratio = ruler(ours) / ruler(theirs)
        if not ratio > 1:
            raise Wrong(
                f"the ratio of the {what} is {ratio:.6g}, so this ruler sees that ours is not "
                "slower; expected above 1"
            )


@exercise(stage=11)
def needed_factor(
    answer: Any,  # A function: `answer(share, goal)` gives a factor, or infinity
) -> None:
    "Compute how many times as fast a part must become for the whole to reach a goal."
    for share, goal in (
        (0.5, 1.5),
        (1.0, 4.0),
        (0.9, 5.0),
        (0.8, 1.25),
        (0.25, 1.0),
        (0.5, 2.0),
        (0.75, 4.0),
        (0.5, 3.0),
        (0.1, 20.0),
    ):
        case = f"for a share of {share} and a goal of {goal}"
        got = plain_number(call(answer, share, goal, case=case))
        if type(got) not in (int, float):
            raise Wrong(f"{case}: the result is {nothing_or_type(got)}; expected a number")
        rest = 1 - share
        if rest >= 1 / goal:
            if got != math.inf:
                raise Wrong(
                    f"{case}: the result is {got:.6g}; expected infinity, for the rest alone takes "
                    f"{rest:.6g} of the time, and the goal allows {1 / goal:.6g}"
                )
            continue
        known = {
            "this is what the whole gains when the part is as fast as the goal": (
                1 / (rest + share / goal)
            ),
            "the rest does not become faster with the part": goal,
            "gains do not divide by shares; add up times": goal / share,
            "gains do not add up by shares; times do": 1 + (goal - 1) / share,
            "it is turned over; expected the old time of the part over its new one": (
                (1 / goal - rest) / share
            ),
        }
        expected = share / (1 / goal - rest)
        with slips(got, expected, known):
            same_number(got, expected, case, tolerance=1e-9)


@exercise(stage=11)
def multiplications(
    answer: Any,  # A function: `answer(sizes, batch_size)` gives a whole number
) -> None:
    "Count the multiplications of one training step of a net of linear layers."
    for sizes, n in (
        ([784, 30, 10], 256),
        ([784, 30, 10], 1),
        ([784, 10], 64),
        ([5, 4, 3, 2], 7),
        ([784, 32, 10], 256),
        ([20, 30, 40, 50, 10], 3),
        ([1, 1], 1),
    ):
        case = f"for widths {sizes} and a batch of {n}"
        one = sum(a * b for a, b in itertools.pairwise(sizes))
        first, last = sizes[0] * sizes[1], sizes[-2] * sizes[-1]
        expected = n * (3 * one - first)
        known = {
            "this is forward alone": n * one,
            "this is backward alone": n * (2 * one - first),
            "the gradient by the pixels is not needed": n * 3 * one,
            "the gradients by the hidden values are missing": n * 2 * one,
            "the gradient by the pixels is left out, not one by hidden values": n
            * (3 * one - last),
            "additions are not counted": 2 * expected,
            "this is for one digit; a batch takes more": 3 * one - first,
            "a bias is added, not multiplied": expected + 2 * n * sum(sizes[1:]),
            "a bias is added; it takes no multiplication": expected + n * sum(sizes[1:]),
        }
        got = plain_number(call(answer, list(sizes), n, case=case))
        with slips(got, expected, known):
            same_number(got, expected, case, tolerance=0)


class NewTensors(TorchDispatchMode):
    "While it is entered, notes each operation that gives a tensor with memory of its own."

    def __init__(
        self,
        dtype: torch.dtype,  # Tensors of others, as row numbers, are let pass
    ):
        super().__init__()
        self.dtype, self.made = dtype, list[tuple[str, list[int]]]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage().data_ptr() for t in tensors([args, kwargs or {}])}
        out = func(*args, **(kwargs or {}))
        for t in tensors(out):
            memory = t.untyped_storage()
            if t.dtype == self.dtype and memory.nbytes() and memory.data_ptr() not in given:
                self.made.append((func.__name__.partition(".")[0], list(t.shape)))
        return out


@contextmanager
def watched(
    case: str,  # Which case it is
    answer: Any,  # The reader's function, which is at work
    new: NewTensors,  # Notes what it makes
) -> Iterator[None]:
    "What the reader's code raises is `Wrong`, and torch's warning that it resizes an `out=` as well."
    with failures(case, answer), warnings.catch_warnings(), new:
        warnings.filterwarnings("error", "An output with one or more elements was resized")
        try:
            yield
        except UserWarning as error:
            raise Wrong(
                f"{case}: what you give torch as out= has another shape than the result, so torch "
                "gives it new memory, with a warning; give a part of the buffer that fits"
            ) from error


def batches(
    answer: Any, x: Tensor, order: Tensor, batch_size: int, case: str, new: NewTensors
) -> list[Tensor]:
    "What the reader's generator gives; each batch is compared when it comes."
    with watched(case, answer, new):
        iterator = answer(x, order, batch_size)
    if not isinstance(iterator, Iterator):
        raise Wrong(
            f"{case}: the result is {nothing_or_type(iterator)}; expected a generator, for the "
            "buffer holds one batch at a time"
        )
    expected = [x[i] for i in order.split(batch_size)]
    found: list[Tensor] = []
    for k in range(len(expected) + 1):
        with watched(case, answer, new):
            batch = next(iterator, None)
        if batch is None:
            break
        if k == len(expected):
            raise Wrong(f"{case}: it gives more than {k} batches")
        known = {"these are rows in the order of x": x[k * batch_size :][: len(expected[k])]}
        with slips(batch, expected[k], known):
            same(batch, expected[k], case, f"batch {k}", tolerance=0)
        found.append(batch)
    if len(found) < len(expected):
        raise Wrong(f"{case}: it gives {len(found)} batches; expected {len(expected)}")
    return found


@exercise(stage=11)
def one_buffer(
    answer: Any,  # A generator: `answer(x, order, batch_size)` gives batches of rows
) -> None:
    "Write a generator of batches that all lie in the same memory."
    for n, taken, batch_size, tail, dtype in (
        (12, 12, 4, (3,), torch.float32),
        (10, 10, 4, (3,), torch.float32),
        (9, 30, 7, (), torch.float64),
        (6, 5, 8, (28, 28), torch.uint8),
        (5, 3, 1, (2, 1, 3), torch.float32),
        (300, 300, 64, (784,), torch.uint8),
    ):
        draw = seeded(n)
        x = (200 * torch.rand(n, *tail, generator=draw, dtype=torch.float64)).to(dtype)
        order = torch.randint(n, (taken,), generator=draw)
        given, case = (x.clone(), order.clone()), f"for {taken} rows and batches of {batch_size}"
        new = NewTensors(dtype)
        found = batches(answer, *given, batch_size, case, new)
        if not all(torch.equal(a, b) for a, b in zip(given, (x, order), strict=True)):
            raise Wrong(f"{case}: {name(answer)} changes a tensor that it is given")
        memory = [batch.untyped_storage() for batch in found]
        if len({m.data_ptr() for m in memory}) > 1:
            raise Wrong(f"{case}: each batch lies in memory of its own; expected the same for all")
        rows = memory[0].nbytes() // (x[0].numel() * x.element_size())
        if rows > batch_size:
            raise Wrong(f"{case}: the buffer has {rows} rows; expected {batch_size} at most")
        if len(new.made) > 1:
            operation, shape = new.made[1]
            raise Wrong(
                f"{case}: besides the buffer {operation} makes a tensor {shape}; out= lets an "
                "operation write where you want it"
            )


class Passes(TorchDispatchMode):
    "While it is entered, notes each operation that writes so many floating-point numbers."

    def __init__(
        self,
        numel: int,  # As many
    ):
        super().__init__()
        self.numel, self.made = numel, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for t in tensors(out):
            if t.is_floating_point() and t.numel() == self.numel and not func.is_view:
                self.made.append(func.__name__.partition(".")[0])
        return out


@exercise(stage=11)
def gradient_from_bytes(
    answer: Any,  # `answer(grad, xb, mean, std)` gives the gradient by the weight
) -> None:
    "Write the gradient by the weight of a layer that is given standardised pixels, from their bytes."
    for n, n_in, n_out, mean, std, dtype in (
        (7, 5, 2, 0.0, 1.0, torch.float64),
        (7, 5, 2, 0.0, 0.5, torch.float64),
        (7, 5, 2, 0.25, 1.0, torch.float64),
        (6, 5, 4, 0.1307, 0.3081, torch.float64),
        (64, 784, 10, 0.1307, 0.3081, torch.float32),
        (3, 2, 1, 0.5, 0.25, torch.float32),
    ):
        case = f"for {n} rows of {n_in}, a layer of {n_out}, mean {mean} and deviation {std}"
        draw = seeded(n)
        xb = torch.randint(256, (n, n_in), generator=draw, dtype=torch.uint8)
        grad = torch.randn(n, n_out, generator=draw, dtype=dtype)
        x, total = xb.to(dtype) / 255, grad.sum(0)[:, None]
        expected = grad.T @ ((x - mean) / std)
        with Passes(xb.numel()) as passes:
            got = call(answer, grad, xb, mean, std, case=case)
        known = {
            "a byte counts as a 255th": grad.T @ ((xb.to(dtype) - mean) / std),
            "the mean is missing": grad.T @ (x / std),
            "the mean is added; it is taken off": grad.T @ ((x + mean) / std),
            "the deviation is missing": grad.T @ (x - mean),
            "the mean is divided by the deviation as well": grad.T @ x / std - mean * total,
            "it multiplies by the deviation": grad.T @ ((x - mean) * std),
            "the mean comes once for each row, with its grad": grad.T @ (x / std) - mean / std,
            "this is the gradient's transpose": expected.T,
        }
        with slips(got, expected, known):
            same(got, expected, case, tolerance=1e-4 if dtype == torch.float32 else 1e-9)
        if len(passes.made) > 1:
            raise Wrong(
                f"{case}: the pixels are written {len(passes.made)} times, by "
                f"{', '.join(passes.made)}; expected once, when they are made floating-point"
            )
