"Checks of the exercises of stage 11, speed."

import itertools
import math
import statistics
import warnings
from collections.abc import Iterator
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


def timings(n: int, seed: int) -> tuple[list[float], list[float]]:
    "Two ways timed in turn on a machine that slows down, with a disturbance now and then."
    draw = seeded(seed)
    drift = torch.linspace(1, 3, n, dtype=torch.float64)
    noise = 1 + 0.02 * torch.randn(2, n, generator=draw, dtype=torch.float64)
    noise[torch.rand(2, n, generator=draw) < 0.1] *= 8
    ours, theirs = drift * noise * torch.tensor([[0.09], [0.14]], dtype=torch.float64)
    return ours.tolist(), theirs.tolist()


def quartiles(values: list[float], method: str = "inclusive") -> list[float]:
    return statistics.quantiles(values, n=4, method=method)  # type: ignore[arg-type]


@exercise(stage=11)
def paired_ratio(
    answer: Any,  # A function: `answer(ours, theirs)`, lists of seconds, gives (low, median, high)
) -> None:
    "Compute the ratio of two ways that were timed in turn, with its quartiles."
    cases: list[tuple[list[float], list[float]]] = [
        ([1.0, 6.0, 4.0, 3.0, 8.0], [2.0, 2.5, 5.0, 12.0, 3.0]),
        ([0.2, 0.2, 0.9, 0.2], [0.4, 0.5, 0.4, 0.3]),
        ([3.0, 1.0], [1.0, 2.0]),
        *(timings(n, seed=n) for n in (6, 21, 40)),
    ]
    for ours, theirs in cases:
        case = f"for {ours} and {theirs}" if len(ours) < 6 else f"for {len(ours)} pairs"
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        got = call(answer, ours, theirs, case=case)
        if type(got) not in (tuple, list) or len(got) != 3:
            kind = nothing_or_type(got) + (f" of {len(got)}" if isinstance(got, tuple) else "")
            raise Wrong(f"{case}: the result is {kind}; expected (low, median, high)")
        low, middle, high = quartiles(ratios)
        ranked = [a / b for a, b in zip(sorted(ours), sorted(theirs), strict=True)]
        known = {
            "it is ours over theirs": quartiles([1 / r for r in ratios])[1],
            "this is the ratio of the means, which one slow run moves": sum(ours) / sum(theirs),
            "this is the mean of the ratios, which one slow run moves": statistics.fmean(ratios),
            "this is the ratio of the medians, of runs that were no neighbours": (
                statistics.median(ours) / statistics.median(theirs)
            ),
            "this is the ratio of the fastest runs, of which the others say nothing": (
                min(ours) / min(theirs)
            ),
            "the runs are sorted, and so no longer in pairs": statistics.median(ranked),
        }
        with slips(plain_number(got[1]), middle, known):
            same_number(got[1], middle, case, "the median", tolerance=1e-9)
        outside = quartiles(ratios, "exclusive")
        std = statistics.stdev(ratios)
        for value, what, expected, end, other, sign in (
            (got[0], "the lower quartile", low, min(ratios), outside[0], -1),
            (got[2], "the upper quartile", high, max(ratios), outside[2], 1),
        ):
            known = {
                "this is an extreme, which one slow run moves": end,
                "this is another definition of a quartile; torch.quantile's is asked": other,
                "this is the deviation, which one slow run moves": middle + sign * std,
            }
            with slips(plain_number(value), expected, known):
                same_number(value, expected, case, what, tolerance=1e-9)


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


@exercise(stage=11)
def linear_backward_into(
    answer: Any,  # `answer(grad, x, weight, by_x, by_weight, by_bias)` fills the last three
) -> None:
    "Write the gradients of a linear layer into tensors that are there already."
    for n, n_in, n_out, with_x, dtype in (
        (5, 3, 2, True, torch.float32),
        (4, 3, 3, True, torch.float64),
        (5, 3, 2, False, torch.float32),
        (1, 4, 3, True, torch.float32),
        (6, 1, 1, False, torch.float64),
        (64, 20, 8, True, torch.float32),
    ):
        case = f"for {n} rows of {n_in} and a layer of {n_out}, {str(dtype).removeprefix('torch.')}"
        by_x = torch.ones(n, n_in, dtype=dtype) if with_x else None
        into = (
            by_x,
            torch.ones(n_out, n_in, dtype=dtype),
            torch.ones(n_out, dtype=dtype),
        )
        for again in (False, True):
            draw = seeded(n + again)
            grad, x, weight = (
                torch.randn(*shape, generator=draw, dtype=dtype)
                for shape in ((n, n_out), (n, n_in), (n_out, n_in))
            )
            filled(answer, (grad, x, weight), into, case + ", a second time" * again)


def filled(
    answer: Any,
    given: tuple[Tensor, Tensor, Tensor],  # grad, x, weight
    into: tuple[Tensor | None, Tensor, Tensor],
    case: str,
) -> None:
    "Raise `Wrong` unless the reader's function fills the tensors and makes no others."
    grad, x, weight = given
    if into[0] is None:
        case += " and by_x = None"
    copies, buffers = [t.clone() for t in given], [t for t in into if t is not None]
    before, memory = [t.clone() for t in buffers], [t.data_ptr() for t in buffers]
    new = NewTensors(grad.dtype)
    with watched(case, answer, new):
        answer(*given, *into)
    for what, now, then in zip(("grad", "x", "weight"), given, copies, strict=True):
        if not torch.equal(now, then):
            raise Wrong(f"{case}: {name(answer)} changes {what}; leave it as it is")
    expected = [grad @ weight, grad.T @ x, grad.sum(0)][-len(buffers) :]
    names = ["by_x", "by_weight", "by_bias"][-len(buffers) :]
    for what, buffer, old, value in zip(names, buffers, before, expected, strict=True):
        known = {
            "it is as it was; what an operation returns is another tensor, and a name that is "
            "assigned fills nothing": old,
            "this was added to what the tensor held": old + value,
            "this is divided by the number of rows; grad is that already": value / len(x),
            "this is its transpose": (x.T @ grad) if what == "by_weight" else torch.nan * value,
        }
        with slips(buffer, value, known):
            same(buffer, value, case, what)
    if [t.data_ptr() for t in buffers] != memory:
        raise Wrong(f"{case}: a tensor has moved to new memory; fill the memory that is there")
    if new.made:
        operation, shape = new.made[0]
        raise Wrong(
            f"{case}: {operation} makes a tensor {shape} of its own; out= lets an operation write "
            "where you want it"
        )
