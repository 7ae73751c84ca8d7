"Checks of the exercises of stage 2, loader."

import math
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice, permutations, product
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from mnist_walkthrough.check.core import (
    Without,
    Wrong,
    call,
    exercise,
    failures,
    nothing_or_type,
    plain_number,
    seeded,
)
from mnist_walkthrough.check.net import like, same_or_slip

EPOCHS = 6000  # of four rows: enough to tell a shuffle that is a little unfair
N_SPLITS = 300
INSTEAD = "draw random numbers, and make an order of them"
SHUFFLES = [
    *((owner, name) for owner in (random, random.Random) for name in ("shuffle", "sample")),
    *(
        (np.random, name)
        for name in ("shuffle", "permutation", "default_rng", "Generator", "RandomState")
    ),
]


def unfair(
    counts: Sequence[int],  # How often each of several things came
    expected: Sequence[float],  # How often it should come in the mean
) -> bool:
    "Chi-square test that a fair draw fails less often than once in 10^11; Wilson and Hilferty's limit."
    squares = sum((n - e) ** 2 / e for n, e in zip(counts, expected, strict=True))
    f = len(counts) - 1
    return squares > f * (1 - 2 / (9 * f) + 7 * math.sqrt(2 / (9 * f))) ** 3


def of_one_seed(
    draw: Callable[[torch.Generator], Any],  # What the reader wrote, with a generator
    case: str,
    what: str,  # What is drawn: "the rows"
) -> None:
    "Raise `Wrong` unless a generator, and nothing else, decides what is drawn."
    seen: list[Any] = []
    for seed in (0, 0, 1, 2):
        torch.default_generator.manual_seed(len(seen))
        seen.append(draw(seeded(seed)))
    if seen[0] != seen[1]:
        raise Wrong(
            f"{case}: two generators of the same seed give different {what}; "
            "let `generator` alone decide"
        )
    if seen[0] == seen[2] == seen[3]:
        raise Wrong(f"{case}: generators with the seeds 0, 1 and 2 give the same {what}; draw them")


@exercise(stage=2)
def wasteful_batch_size(
    answer: Any,  # `answer(n)` gives a batch size
) -> None:
    "Find the batch size with which `drop_last=True` leaves out the most of `n` rows, and yet makes a batch."
    for n in (1000, *range(1, 130), 999):
        case = f"for {in_rows(n)}"
        got = plain_number(call(answer, n, case=case))
        if type(got) is not int:
            raise Wrong(
                f"{case}: the batch size is {nothing_or_type(got)}; expected a whole number"
            )
        if not 1 <= got <= n:
            raise Wrong(f"{case}: with a batch size of {got} there is no batch at all")
        most = max(n % size for size in range(1, n + 1))
        if n % got != most:
            raise Wrong(f"{case}: batches of {got} leave out {n % got}; {most} can be left out")


@exercise(stage=2)
@torch.random.fork_rng()
def shuffling_loader(
    answer: Any,  # A class: `answer(x, y, batch_size, generator)` can be looped over, and has a length
) -> None:
    "Write a loader that shuffles without `torch.randperm`."
    with Without(torch.randperm, instead=INSTEAD), without_shuffles():
        for n, batch_size in ((10, 4), (12, 4), (4, 4), (7, 3), (1, 3), (5, 8), (7, 1), (100, 32)):
            compare_epochs(answer, n, batch_size)
        case = "for 100 rows in batches of 32"
        of_one_seed(lambda g: rows_of_epochs(answer, 100, 32, g, 3, case), case, "orders")
    fair_orders(answer)
    fair_neighbours(answer)


@contextmanager
def without_shuffles() -> Iterator[None]:
    "While it is entered, calling another library's shuffle is `Wrong`, too."

    def refused(what: str) -> Callable[..., None]:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise Wrong(f"it calls {what}, which shuffles for you; {INSTEAD}")

        return refuse

    with ExitStack() as stack:
        for owner, name in SHUFFLES:
            what = f"{owner.__name__}.{name}"
            stack.enter_context(patch.object(owner, name, refused(what)))
        yield


def pairs(n: int) -> tuple[Tensor, Tensor]:
    "Rows that tell their number: x [n, 2], y [n]."
    y = torch.arange(n)
    return torch.stack([y + 0.25, -y.float()], 1), y


def compare_epochs(answer: Any, n: int, batch_size: int) -> None:
    "Raise `Wrong` unless two epochs hold all rows in batches, each image with its label."
    case = f"for {in_rows(n)} in batches of {batch_size}"
    x, y = pairs(n)
    with failures(case, answer):
        loader = answer(x, y, batch_size, seeded(n))
        length = len(loader)
        epochs = [list(islice(loader, n + 1)) for _ in range(2)]
    sizes = [min(batch_size, n - at) for at in range(0, n, batch_size)]
    for epoch, batches in zip(("first", "second"), epochs, strict=True):
        here = f"{case}, {epoch} epoch"
        if not batches:
            raise Wrong(f"{here}: there are no batches; begin anew whenever a loop asks for them")
        compare_batches(batches, sizes, here)
        rows = torch.cat([yb for _, yb in batches]).tolist()
        twice = [row for row, times in Counter(rows).items() if times > 1]
        if twice:
            never = min({*range(n)} - {*rows})
            raise Wrong(f"{here}: row {twice[0]} comes more than once, and row {never} never")
        for xb, yb in batches:
            compare_pairs(xb, yb, n, here)
    if type(length) is not int or length != len(sizes):
        raise Wrong(f"{case}: its length is {length}; expected {len(sizes)}, the number of batches")
    if not (torch.equal(x, pairs(n)[0]) and torch.equal(y, pairs(n)[1])):
        raise Wrong(f"{case}: the loader changes the x or the y that it is given")
    if n >= 100 and all(map(torch.equal, *([yb for _, yb in batches] for batches in epochs))):
        raise Wrong(f"{case}: the second epoch has the order of the first; draw a new one")


def compare_pairs(xb: Tensor, yb: Tensor, n: int, case: str) -> None:
    "Raise `Wrong` unless each image stands beside its own label."
    x, _ = pairs(n)
    for image, label in zip(xb, yb.tolist(), strict=True):
        if not torch.equal(image, x[label]):
            row = [i for i in range(n) if torch.equal(image, x[i])]
            other = f"the image of row {row[0]}" if row else "an image that is no row of x"
            raise Wrong(f"{case}: the label of row {label} comes with {other}")


def compare_batches(batches: Sequence[Any], sizes: Sequence[int], case: str) -> None:
    "Raise `Wrong` unless these are batches (xb, yb) of these sizes, made of rows that exist."
    for batch in batches:
        if type(batch) not in (tuple, list) or len(batch) != 2:
            raise Wrong(f"{case}: a batch is {nothing_or_type(batch)}; expected a pair (xb, yb)")
        if not all(type(t) is Tensor and t.ndim for t in batch):
            raise Wrong(
                f"{case}: a batch holds {' and '.join(map(nothing_or_type, batch))}; expected tensors of rows"
            )
    got = [len(yb) for _, yb in batches]
    if got != sizes:
        why = ": the smaller last batch is kept" if got == sizes[:-1] else ""
        raise Wrong(f"{case}: the batches have {shown(got)} rows; expected {shown(sizes)}{why}")
    n = sum(sizes)
    x, y = pairs(n)
    for (xb, yb), size in zip(batches, sizes, strict=True):
        for got, all_rows, what in ((xb, x, "xb"), (yb, y, "yb")):
            like(got, torch.empty(size, *all_rows.shape[1:], dtype=all_rows.dtype), case, what)
        if not ((yb >= 0) & (yb < n)).all():
            raise Wrong(f"{case}: there is a label {int(yb.max())}, which no row has")


def in_rows(n: int) -> str:
    return f"{n} row{'s' if n > 1 else ''}"


def shown(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def rows_of_epochs(
    answer: Any, n: int, batch_size: int, generator: torch.Generator, n_epochs: int, case: str
) -> list[int]:
    "The rows that a loader serves, one epoch after the other."
    with failures(case, answer):
        loader = answer(*pairs(n), batch_size, generator)
        return [row for _ in range(n_epochs) for _, yb in loader for row in yb.tolist()]


def fair_orders(answer: Any) -> None:
    "Raise `Wrong` unless all orders of four rows come equally often."
    case = f"for {EPOCHS} epochs of 4 rows"
    rows = rows_of_epochs(answer, 4, 4, seeded(0), EPOCHS, case)
    came = Counter(zip(*[iter(rows)] * 4, strict=False))
    orders = list(permutations(range(4)))
    counts = [came[order] for order in orders]
    if not unfair(counts, [EPOCHS / 24] * 24):
        return
    never = [order for order in orders if not came[order]]
    if never:
        stays = any(i == row for order in came for i, row in enumerate(order))
        why = (
            ""
            if stays
            else ", and no row ever stays in its place; a row may also be swapped with itself"
        )
        raise Wrong(f"{case}: the order {shown(never[0])} never comes{why}")
    order = max(orders, key=lambda order: abs(came[order] - EPOCHS / 24))
    why = ""
    for places in (range(4), range(3, -1, -1)):
        naive = naive_swaps(places)
        if not unfair(counts, [EPOCHS * naive[order] / 256 for order in orders]):
            why = "; swap each place with one that has not had its turn, not with any place"
    raise Wrong(
        f"{case}: the order {shown(order)} comes {came[order]} times; "
        f"expected about {EPOCHS // 24}, as often as any other{why}"
    )


def fair_neighbours(answer: Any) -> None:
    "Raise `Wrong` unless any two of seven rows are equally often the first two."
    case = f"for {EPOCHS // 3} epochs of 7 rows in batches of 3"
    served = rows_of_epochs(answer, 7, 3, seeded(0), EPOCHS // 3, case)
    came = Counter(zip(served[::7], served[1::7], strict=False))
    firsts = list(permutations(range(7), 2))
    if unfair([came[first] for first in firsts], [EPOCHS / 3 / 42] * 42):
        first = max(firsts, key=came.__getitem__)
        raise Wrong(
            f"{case}: rows {first[0]} and {first[1]} are the first two {came[first]} times; "
            f"expected about {EPOCHS // 126}, as any other two"
        )


def naive_swaps(places: Iterable[int]) -> Counter[tuple[int, ...]]:
    "How often of 256 times each order comes when every place is swapped with any of the four."
    found: Counter[tuple[int, ...]] = Counter()
    for others in product(range(4), repeat=4):
        order = list(range(4))
        for i, j in zip(places, others, strict=True):
            order[i], order[j] = order[j], order[i]
        found[tuple(order)] += 1
    return found


@exercise(stage=2)
@torch.random.fork_rng()
def balanced_rows(
    answer: Any,  # `answer(y, n, generator)` gives `n` row numbers, int64 [n]
) -> None:
    "Draw rows so that every class is equally likely, however many rows it has."
    for counts, n in (
        ({0: 90, 1: 9, 2: 1}, 3000),
        ({7: 30, 3: 40}, 1),
        ({5: 4}, 50),
        ({4: 30, 1: 60, 9: 5}, 3000),
    ):
        case = f"for {described(counts)} and n = {n}"
        compare_draws(answer, counts, n, case)


def described(counts: dict[int, int]) -> str:
    sizes = list(counts.values())
    if len(sizes) > 3 and len(set(sizes)) == 1:
        return f"{sizes[0]} rows of each of {len(sizes)} classes"
    return f"{shown(sizes)} rows of class {shown(counts)}"


def compare_draws(answer: Any, counts: dict[int, int], n: int, case: str) -> None:
    "Raise `Wrong` unless every class is equally likely, and every row of a class."
    y = labels(counts)

    def draw(generator: torch.Generator) -> list[int]:
        with failures(case, answer):
            got = answer(y.clone(), n, generator)
        return row_numbers(got, n, len(y), case)

    if n > 1:
        of_one_seed(draw, case, "rows")
    n_generators = 2000 if n == 1 else 3
    drawn = [row for seed in range(n_generators) for row in draw(seeded(seed))]
    case += f", with {n_generators} generators one after the other"
    classes = Counter(y[drawn].tolist())
    balanced_classes(classes, counts, len(drawn), case)
    came = Counter(drawn)
    for label, n_rows in counts.items():
        rows = (y == label).nonzero().flatten().tolist()
        fair = classes[label] / n_rows
        if n_rows > 1 and unfair([came[row] for row in rows], [fair] * n_rows):
            row = max(rows, key=came.__getitem__)
            raise Wrong(
                f"{case}: row {row} is drawn {came[row]} times; expected about {fair:.0f}, "
                f"as any of the {n_rows} rows of class {label}"
            )


def labels(counts: dict[int, int]) -> Tensor:
    "So many labels of each class, mixed."
    y = torch.tensor([label for label, n in counts.items() for _ in range(n)])
    return y[torch.randperm(len(y), generator=seeded(len(y)))]


def row_numbers(got: Any, n: int, n_rows: int, case: str) -> list[int]:
    "The rows that the reader drew; raises `Wrong` unless they are `n` numbers of rows."
    rows: list[int] = like(got, torch.zeros(n, dtype=torch.int64), case).tolist()
    for row in rows:
        if not 0 <= row < n_rows:
            raise Wrong(f"{case}: {row} is no row; there are 0 to {n_rows - 1}")
    return rows


def balanced_classes(classes: Counter[int], counts: dict[int, int], n: int, case: str) -> None:
    "Raise `Wrong` unless all classes came equally often, up to chance."
    came = [classes[label] for label in counts]
    if len(came) == 1 or not unfair(came, [n / len(came)] * len(came)):
        return
    total = sum(counts.values())
    squares = sum(size**2 for size in counts.values())
    why = ""
    if not unfair(came, [n * size / total for size in counts.values()]):
        why = ": every row is equally likely, so large classes come more often"
    elif not unfair(came, [n * size**2 / squares for size in counts.values()]):
        why = ": a row's weight is the size of its class; take one divided by it"
    raise Wrong(
        f"{case}: of {n} draws {shown(came)} are of these classes; "
        f"expected about {n // len(came)} of each{why}"
    )


@exercise(stage=2)
@torch.random.fork_rng()
def split_by_class(
    answer: Any,  # `answer(y, share, generator)` gives two tensors of row numbers, int64
) -> None:
    "Split rows in two by chance, without overlap, with the same share of every class."
    for counts, share in (
        ({c: 20 for c in range(10)}, 0.2),
        ({1: 50, 0: 30, 6: 7}, 0.35),
        ({3: 1, 2: 90}, 0.5),
        ({0: 5, 1: 10}, 0.4),
    ):
        compare_splits(answer, counts, share, f"for {described(counts)} and a share of {share}")


def compare_splits(answer: Any, counts: dict[int, int], share: float, case: str) -> None:
    "Raise `Wrong` unless the parts are right, and every row of a class is equally likely in each."
    y = labels(counts)

    def split(generator: torch.Generator) -> list[set[int]]:
        with failures(case, answer):
            got = answer(y.clone(), share, generator)
        return checked_split(got, y, share, case)

    generator = seeded(0)
    came = Counter(row for _ in range(N_SPLITS) for row in split(generator)[1])
    if len(y) > 50:
        of_one_seed(split, case, "splits")
    for label, n in counts.items():
        rows = (y == label).nonzero().flatten().tolist()
        fair = sum(came[row] for row in rows) / n
        row = max(rows, key=lambda row: abs(came[row] - fair))
        if abs(came[row] - fair) > 7 * math.sqrt(fair * (1 - fair / N_SPLITS)):
            raise Wrong(
                f"{case}: in {N_SPLITS} splits row {row} is in valid_rows {came[row]} times; "
                f"expected about {fair:.0f}, as any of the {n} rows of class {label}"
            )


def checked_split(got: Any, y: Tensor, share: float, case: str) -> list[set[int]]:
    "Both parts; raises `Wrong` unless all rows are in one of them, with the share of each class."
    if type(got) not in (tuple, list) or len(got) != 2:
        raise Wrong(f"{case}: you give {nothing_or_type(got)}; expected (train_rows, valid_rows)")
    parts = []
    for rows, part in zip(got, ("train_rows", "valid_rows"), strict=True):
        if type(rows) is not Tensor or rows.ndim != 1 or rows.dtype != torch.int64:
            what = nothing_or_type(rows)
            raise Wrong(f"{case}: {part} is {what}; expected a tensor int64 with one axis")
        parts.append(set(row_numbers(rows, len(rows), len(y), f"{case}: in {part}")))
        if len(parts[-1]) < len(rows):
            twice = Counter(rows.tolist()).most_common(1)[0][0]
            raise Wrong(f"{case}: row {twice} comes more than once in {part}")
    both, none = parts[0] & parts[1], {*range(len(y))} - parts[0] - parts[1]
    if both:
        raise Wrong(f"{case}: row {min(both)} and {len(both) - 1} more are in both parts")
    if none:
        raise Wrong(f"{case}: row {min(none)} and {len(none) - 1} more are in neither part")
    held = Counter(y[sorted(parts[1])].tolist())
    for label in y.unique().tolist():
        n = int((y == label).sum())
        if abs(held[label] - share * n) >= 1:
            raise Wrong(
                f"{case}: {held[label]} of the {n} rows of class {label} are in valid_rows; "
                f"expected {share * n:.3g}, up to rounding"
            )
    return parts


@exercise(stage=2)
def standardise(
    answer: Any,  # `answer(train_x, valid_x)` gives both, standardised
) -> None:
    "Give train and valid mean 0 and deviation 1, as far as the training rows know them."
    for n, m, dtype in ((50, 20, torch.float64), (50, 20, torch.float32), (8, 1, torch.float32)):
        g = seeded(n + m)
        train = 3 + 2 * torch.randn(n, 6, generator=g, dtype=dtype)
        valid = 5 + 0.5 * torch.randn(m, 6, generator=g, dtype=dtype)
        train[:, 2] = 0
        case = f"for {n} training rows and {m} for validation, {str(dtype).removeprefix('torch.')}"
        got = call(answer, train, valid, case=case)
        if type(got) not in (tuple, list) or len(got) != 2:
            raise Wrong(
                f"{case}: you give {nothing_or_type(got)}; expected the pair (train, valid)"
            )
        for result, x, what in zip(got, (train, valid), ("train", "valid"), strict=True):
            right = (x - train.mean()) / train.std()
            same_or_slip(result, right, standardise_slips(x, train, valid), case, what)


def standardise_slips(x: Tensor, train: Tensor, valid: Tensor) -> dict[str, Tensor]:
    "What comes out when one thing is forgotten: {what is wrong: the rows}."
    both = torch.cat([train, valid])
    centred, std = x - train.mean(), train.std()
    slips = {
        "it has its own mean and deviation; take those of the training rows": (
            (x - x.mean()) / x.std()
        ),
        "the validation rows have a part in mean and deviation": (x - both.mean()) / both.std(),
        "each column has its own mean and deviation; one of each is asked for": (
            (x - train.mean(0)) / train.std(0)
        ),
        "it is divided by the variance": centred / train.var(),
        "the mean is subtracted, but nothing divided": centred,
        "this deviation divides by n; `Tensor.std` divides by n - 1": (
            centred / train.std(correction=0)
        ),
        "it is as it was given; perhaps mean and deviation were taken after the training rows had "
        "been replaced": x,
    }
    added = {
        f"{eps:g} is added to the deviation": centred / (std + eps)
        for eps in (10.0**k for k in range(-12, -1))
    }
    return slips | added
