"Checks of the exercises of stage 14, scale."

import copy
import functools
import itertools
import types
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from mnist_walkthrough.check.core import (
    Wrong,
    call,
    exercise,
    failures,
    has_numbers,
    nothing_or_type,
    same,
    seeded,
)
from mnist_walkthrough.data import ImageDataset, digits
from mnist_walkthrough.scale import ShardStream, clumping, write_shards


@functools.cache
def training_digits() -> ImageDataset:
    return ImageDataset(digits() / "training")


@exercise(stage=14)
def small_shards(
    answer: Any,  # (shard_size, buffer_size), whole numbers
) -> None:
    "Find sizes of shards and buffer with which 200 rows in memory shuffle well."
    if type(answer) not in (tuple, list) or len(answer) != 2:
        raise Wrong(f"it is {nothing_or_type(answer)}; expected a pair (shard_size, buffer_size)")
    for name, size in zip(("shard_size", "buffer_size"), answer, strict=True):
        if type(size) is not int:
            raise Wrong(f"{name} is {size!r}; expected a whole number")
    shard_size, buffer_size = answer
    if shard_size < 5:
        raise Wrong(f"shards of {shard_size} rows; expected 5 or more")
    if not 1 <= buffer_size <= 200:
        raise Wrong(f"a buffer of {buffer_size} rows; expected 1 to 200")
    train, batches = training_digits(), []
    with TemporaryDirectory() as folder:
        write_shards(train.images, train.y, Path(folder), shard_size)
        stream = ShardStream(folder, 50, buffer_size, seeded(1))
        for _ in range(12):
            batches += [y for _, y in stream]
    found = clumping(batches, torch.full([10], 0.1))
    if not found < 1.5:
        held = buffer_size / shard_size
        shards = "one shard or less" if held <= 1 else f"about {held:.0f} shards"
        raise Wrong(
            f"with shards of {shard_size} and a buffer of {buffer_size}: {found:.1f} rows go together;"
            f" expected less than 1.5. The buffer holds {shards}, and so few classes"
        )


def rows(tensor: Any, case: str, what: str) -> list[int]:
    "The reader's row numbers, read once."
    if type(tensor) is not Tensor or not has_numbers(tensor) or tensor.dim() != 1:
        raise Wrong(f"{case}: {what} is {nothing_or_type(tensor)}; expected an int64 tensor [rows]")
    if tensor.dtype != torch.int64:
        raise Wrong(f"{case}: {what} is {nothing_or_type(tensor)}; expected int64")
    return tensor.tolist()


@exercise(stage=14)
def my_rows(
    answer: Any,  # A function (order, batch_size, rank, world_size) to a list of tensors
) -> None:
    "Write which rows of each batch fall to a process."
    for n, batch_size, world_size in (
        (12, 4, 2),
        (10, 4, 2),
        (11, 5, 3),
        (9, 4, 2),
        (10, 10, 4),
        (7, 3, 5),
        (8, 3, 1),
        (64, 8, 4),
    ):
        case = f"for {n} rows, batches of {batch_size} and {world_size} processes"
        order = torch.randperm(n, generator=seeded(n))
        shares: list[list[list[int]]] = []
        for rank in range(world_size):
            got = call(answer, order, batch_size, rank, world_size, case=case)
            if type(got) not in (list, tuple):
                raise Wrong(
                    f"{case}: the result is {nothing_or_type(got)}; expected a list of tensors"
                )
            what = f"a share of process {rank}"
            shares.append([rows(share, case, what) for share in got])
        compare_shares(shares, order, batch_size, case)


def compare_shares(
    shares: list[list[list[int]]], order: Tensor, batch_size: int, case: str
) -> None:
    "Raise `Wrong` unless the shares, by process and batch, are as promised."
    batches = [batch.tolist() for batch in order.split(batch_size)]
    everything = sorted(itertools.chain.from_iterable(itertools.chain.from_iterable(shares)))
    numbers = [len(share) for share in shares]
    if len(set(numbers)) > 1:
        raise Wrong(
            f"{case}: the processes have {numbers} batches; expected {len(batches)} each, else one"
            " waits forever for the others"
        )
    if len(set(everything)) < len(everything):
        twice = next(i for i, j in itertools.pairwise(everything) if i == j)
        raise Wrong(f"{case}: row {twice} is used twice; each row belongs to one process, once")
    if len(everything) < len(order):
        raise Wrong(f"{case}: {len(order) - len(everything)} rows are used by no process")
    if numbers[0] != len(batches):
        raise Wrong(
            f"{case}: each process has {numbers[0]} batches; expected {len(batches)}:"
            " batch_size counts the rows of all processes together"
        )
    for k, batch in enumerate(batches):
        parts = [share[k] for share in shares]
        if sorted(itertools.chain.from_iterable(parts)) != sorted(batch):
            raise Wrong(
                f"{case}: batch {k} of the processes together has the rows"
                f" {sorted(itertools.chain.from_iterable(parts))}; expected {sorted(batch)}, those of"
                " the single process"
            )
        sizes = [len(part) for part in parts]
        if max(sizes) - min(sizes) > 1:
            raise Wrong(
                f"{case}: the shares of batch {k} have {sizes} rows; expected equal ones, to one row"
            )


@exercise(stage=14)
def combine_gradients(
    answer: Any,  # A function (gradients, counts) to a list of tensors
) -> None:
    "Write the gradient of all rows from those of each process."
    for counts, dtype in (
        ((4, 4), torch.float32),
        ((5, 3), torch.float32),
        ((1, 6, 2), torch.float64),
        ((7,), torch.float32),
        ((3, 0), torch.float32),
        ((0, 2, 5, 0), torch.float64),
    ):
        case = f"for processes with {', '.join(map(str, counts))} rows"
        random = seeded(sum(counts))
        x = torch.randn(sum(counts), 4, generator=random, dtype=torch.float64).to(dtype)
        y = torch.randint(3, (sum(counts),), generator=random)
        params = [
            torch.randn(size, generator=random, dtype=torch.float64).to(dtype).requires_grad_()
            for size in ((3, 4), (3,))
        ]
        whole, *parts = (
            list(torch.autograd.grad(cross_entropy(linear(xs, *params), ys), params))
            for xs, ys in zip((x, *x.split(counts)), (y, *y.split(counts)), strict=True)
        )
        for part, count in zip(parts, counts, strict=True):
            if count == 0:
                part[:] = [torch.full_like(t, torch.nan) for t in part]
        got = call(answer, parts, list(counts), case=case)
        if type(got) not in (list, tuple) or len(got) != len(whole):
            raise Wrong(
                f"{case}: the result is {nothing_or_type(got)}; expected a list of {len(whole)} tensors, one for each parameter"
            )
        for i, (mine, expected) in enumerate(zip(got, whole, strict=True)):
            with named(mine, parts, counts, i):
                same(mine, expected, case, f"gradient {i}")


class named:
    "While it is entered, a gradient that is `Wrong` is said to come of the slip that gives it."

    def __init__(self, got: Any, parts: list[list[Tensor]], counts: tuple[int, ...], i: int):
        stacked, n = torch.stack([part[i] for part in parts]), torch.tensor(counts)
        having = stacked[n > 0]
        weights = n[n > 0].to(having.dtype).view(-1, *[1] * (having.dim() - 1))
        total = (having * weights).sum(0)
        self.got = got
        self.slips = {
            "this is the plain mean of the processes' gradients, each weighs the same whatever its rows": having.mean(
                0
            ),
            "this is the plain mean over all processes, those without rows too": having.sum(0)
            / len(n),
            "this is the sum of the means": having.sum(0),
            "this is the sum over the rows; divide by their number": total,
            "this is the sum over the rows, divided by the number of processes": total / len(n),
        }

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if (
            not isinstance(error, Wrong)
            or type(self.got) is not Tensor
            or not has_numbers(self.got)
        ):
            return
        got = self.got.detach().double()
        for words, value in self.slips.items():
            if got.shape == value.shape and torch.allclose(got, value.double(), 1e-5, 1e-6):
                raise Wrong(f"{error}: {words}") from None
        if got.isnan().any():
            raise Wrong(
                f"{error}: the mean of no rows is NaN, and stays NaN times 0; leave it out"
            ) from None


class Watched:
    "Items that are counted when they are taken."

    def __init__(self, n: int | None) -> None:  # Without end when None
        self.n, self.taken = n, 0

    def __iter__(self) -> Iterator[str]:
        for i in itertools.count() if self.n is None else range(self.n):
            self.taken += 1
            yield f"item {i}"


@exercise(stage=14)
def shuffled(
    answer: Any,  # A generator function (items, size, generator)
) -> None:
    "Write a shuffle buffer for any iterable."
    for n, size in ((20, 5), (7, 7), (3, 10), (0, 4), (9, 1), (200, 30)):
        case = f"for {n} items and a buffer of {size}"
        found = [whole_stream(answer, n, size, seed, case) for seed in (0, 0, 1)]
        if found[0] != found[1]:
            raise Wrong(
                f"{case}: twice with the same generator, twice another order; draw with `generator`"
            )
        if size > 4 and n > 4 and found[0] == found[2]:
            raise Wrong(f"{case}: generators with different seeds give the same order")
        if size == 1 and found[0] != [f"item {i}" for i in range(n)]:
            raise Wrong(f"{case}: the order changes; one place leaves no choice")
    without_end(answer)
    evenly(answer)


def whole_stream(answer: Any, n: int, size: int, seed: int, case: str) -> list[str]:
    "All items that come out, having watched how many were taken for each."
    items, out = Watched(n), []
    with failures(case, answer):
        state = torch.get_rng_state()
        stream = answer(items, size, seeded(seed))
        if not isinstance(stream, types.GeneratorType):
            raise Wrong(
                f"{case}: the result is {nothing_or_type(stream)}; expected a generator: use `yield`"
            )
        for item in itertools.islice(stream, n + 1):
            out.append(item)
            if items.taken > size + len(out):
                raise Wrong(
                    f"{case}: {items.taken} items have been taken when number {len(out)} comes out;"
                    f" expected at most {size + len(out)}"
                )
            if items.taken < min(n, size + len(out)):
                raise Wrong(
                    f"{case}: number {len(out)} comes out when only {items.taken} items have been"
                    f" taken; expected {min(n, size + len(out))}: fill the buffer first"
                )
        if not torch.equal(state, torch.get_rng_state()):
            torch.set_rng_state(state)
            raise Wrong(f"{case}: it draws from torch's global generator; draw with `generator`")
    if not all(type(item) is str for item in out):
        raise Wrong(f"{case}: what comes out is not what went in")
    if len(out) < n:
        raise Wrong(
            f"{case}: {len(out)} come out; those that are held at the end are missing"
            if out or size >= n
            else f"{case}: nothing comes out"
        )
    if sorted(out) != sorted(Watched(n)):
        raise Wrong(f"{case}: not every item comes out exactly once")
    return out


def without_end(answer: Any) -> None:
    case = "for items without end and a buffer of 10"
    items = Watched(None)
    with failures(case, answer):
        out = list(itertools.islice(answer(items, 10, seeded(0)), 1000))
    if len(set(out)) < 1000:
        raise Wrong(f"{case}: of 1,000 items only {len(set(out))} are different")


def evenly(answer: Any) -> None:
    "Each place is drawn equally often, also the places of the end."
    size, runs = 8, 400
    case = f"for a buffer of {size}, {runs} times"
    first, last = torch.zeros(size), torch.zeros(size + 1)
    generator = seeded(5)
    with failures(case, answer):
        for _ in range(runs):
            out = [int(item.split()[1]) for item in answer(Watched(size + 1), size, generator)]
            first[out[0]] += 1
            last[out[1]] += 1
    if first.max() > 2 * runs / size or first.min() < 0.3 * runs / size:
        raise Wrong(
            f"{case}: the places are drawn {first.int().tolist()} times; expected each about equally often"
        )
    if last.max() > 2 * runs / (size + 1) or last.min() < 0.3 * runs / (size + 1):
        raise Wrong(
            f"{case}: of those that are held at the end, the first to come out are"
            f" {last.int().tolist()} times items 0 to {size}; expected each about equally often"
        )


@exercise(stage=14)
def resumable(
    answer: Any,  # A class: (x, y, batch_size, generator), with state() and resume(state)
) -> None:
    "Write a loader that can go on in the middle of an epoch."
    x = torch.arange(22.0).view(11, 2)
    y = torch.arange(11)
    for batch_size, epochs, given in (
        (4, 0, 2),
        (4, 0, 1),
        (3, 2, 1),
        (5, 1, 0),
        (11, 1, 0),
        (1, 0, 7),
    ):
        case = f"for batches of {batch_size}, {given} of them given in epoch {epochs + 1}"
        random = seeded(batch_size)
        expected = [
            [(x[rows], y[rows]) for rows in torch.randperm(11, generator=random).split(batch_size)]
            for _ in range(epochs + 4)
        ]
        with failures(case, answer):
            first = answer(x.clone(), y.clone(), batch_size, seeded(batch_size))
            for epoch in range(epochs):
                batches_equal(first, expected[epoch], f"{case}: before that, in epoch {epoch + 1}")
            batches = iter(first)
            begun = [next(batches) for _ in range(given)]
            batches_equal(begun, expected[epochs][:given], f"{case}: before that")
            state = copy.deepcopy(first.state())
            other_random = seeded(99)
            torch.randperm(50, generator=other_random)
            other = answer(x.clone(), y.clone(), batch_size, other_random)
            other.resume(copy.deepcopy(state))
            again = copy.deepcopy(other.state())
            known = {
                "a whole epoch in the right order, from its beginning: skip what had been given": expected[
                    epochs
                ],
                "one batch is given again: it counts when the next one is asked for": expected[
                    epochs
                ][max(0, given - 1) :],
                "the next epoch's order: keep the generator's state from before the permutation": expected[
                    epochs + 1
                ][given:],
            }
            batches_equal(other, expected[epochs][given:], f"{case}: resumed", known)
            batches_equal(other, expected[epochs + 1], f"{case}: in the epoch after that")
            batches_equal(other, expected[epochs + 2], f"{case}: two epochs after that")
            third = answer(x.clone(), y.clone(), batch_size, seeded(98))
            third.resume(again)
            batches_equal(
                third, expected[epochs][given:], f"{case}: resumed twice, before a batch came"
            )


Batches = list[tuple[Tensor, Tensor]]


def batches_equal(
    got: Any,  # Gives the reader's batches
    expected: Batches,
    case: str,
    known: dict[str, Batches] | None = None,  # What comes of which slip
) -> None:
    "Raise `Wrong` unless these are the batches."
    found = list(itertools.islice(got, 50))
    for batch in found:
        if (
            type(batch) not in (tuple, list)
            or len(batch) != 2
            or not all(type(t) is Tensor and has_numbers(t) for t in batch)
        ):
            raise Wrong(
                f"{case}: a batch is {nothing_or_type(batch)}; expected a pair of tensors (xb, yb)"
            )
    if equal(found, expected):
        return
    orders = [
        torch.cat([y for _, y in batches]).tolist() if batches else []
        for batches in (found, expected)
    ]
    said = f"{case}: the rows are {orders[0]}; expected {orders[1]}"
    if orders[0] == orders[1]:
        said = f"{case}: the rows are right, but not as batches (xb, yb) of {len(expected[0][1])}"
    for words, batches in (known or {}).items():
        if equal(found, batches):
            said += f". It is {words}" if words[0] == "a" else f". {words.capitalize()}"
            break
    raise Wrong(said)


def equal(a: Batches, b: Batches) -> bool:
    return len(a) == len(b) and all(
        torch.equal(s, t) for p, q in zip(a, b, strict=True) for s, t in zip(p, q, strict=True)
    )
