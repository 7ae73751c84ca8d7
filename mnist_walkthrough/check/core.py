"What the checks of the exercises share: a reader's object is run and compared, and what is wrong is said."

import copy
import functools
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode, resolve_name

from mnist_walkthrough.check import solved

EXERCISES: dict[str, int] = {}  # name -> stage


class Wrong(Exception):
    "What is wrong with a reader's object, in a sentence that ends without a full stop."


class Verdict:
    "What a check found: true when the exercise is solved."

    def __init__(
        self,
        name: str,  # Of the exercise
        wrong: str = "",  # What is wrong; nothing when it is solved
        trouble: str = "",  # Why it could not be noted, if so
    ):
        self.name, self.wrong, self.trouble = name, wrong, trouble

    def __bool__(self) -> bool:
        return not self.wrong

    def __repr__(self) -> str:
        said = f"not yet: {self.wrong.rstrip(' .:?!')}." if self.wrong else "solved."
        return textwrap.fill(f"{self.name}: {said}", 76) + f"\n{self.trouble}".rstrip()


def exercise(
    stage: int,  # Number of the notebook that sets it
) -> Callable[[Callable[[Any], None]], Callable[[Any], Verdict]]:
    "Make a check of a function that raises `Wrong`; an exercise that is solved is noted."

    def decorate(test: Callable[[Any], None]) -> Callable[[Any], Verdict]:
        EXERCISES[test.__name__] = stage

        @functools.wraps(test)
        def check(answer: Any) -> Verdict:
            try:
                test(answer)
            except Wrong as wrong:
                return Verdict(test.__name__, str(wrong))
            try:
                solved.note(test.__name__)
            except OSError as error:
                return Verdict(test.__name__, trouble=solved.trouble("noted", error))
            return Verdict(test.__name__)

        return check

    return decorate


def call(
    function: Callable[..., Any],  # The reader's
    *args: Any,  # Copies of them are given
    case: str,  # Which case it is: "for a batch of one"
    **kwargs: Any,
) -> Any:  # What the function returns
    "Call what the reader wrote; raises `Wrong` when it fails, or changes a tensor that it was given."
    given = copy.deepcopy((args, kwargs))
    with failures(case, function):
        out = function(*given[0], **given[1])
    for mine, yours in zip(tensors((args, kwargs)), tensors(given), strict=True):
        if not torch.equal(mine.nan_to_num(), yours.nan_to_num()):
            raise Wrong(
                f"{case}: {name(function)} changes a tensor that it is given; leave it as it is"
            )
    return out


@contextmanager
def failures(
    case: str,  # Which case it is
    what: object,  # The reader's object that is at work
) -> Iterator[None]:
    "Whatever a reader's code raises becomes `Wrong`, with the line that it says."
    try:
        yield
    except Wrong:
        raise
    except Exception as error:
        said = str(error).strip().splitlines()
        raise Wrong(
            f"{case}: {name(what)} raises {type(error).__name__}" + (f": {said[0]}" if said else "")
        ) from error


def name(what: object) -> str:
    "What to call a reader's object."
    return getattr(what, "__name__", None) or f"your {type(what).__name__}"


def tensors(value: Any) -> Iterator[Tensor]:
    "All tensors in nested tuples, lists and dictionaries."
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))


def same(
    got: Any,  # The reader's tensor
    expected: Tensor,  # What it has to be
    case: str,  # Which case it is: "for a batch of one"
    what: str = "the result",  # What is compared
    tolerance: float
    | None = None,  # Largest difference relative to the largest value; of the dtype if none
) -> None:
    "Raise `Wrong` unless it is a tensor of the expected shape, dtype and values."
    want = f"expected a tensor {dtype(expected)} {list(expected.shape)}"
    if type(got) not in (Tensor, torch.nn.Parameter):
        raise Wrong(f"{case}: {what} is {nothing_or_type(got)}; {want}")
    if got.is_meta or got.layout is not torch.strided:
        raise Wrong(f"{case}: {what} is a tensor without its numbers, or a sparse one; {want}")
    if got.shape != expected.shape:
        raise Wrong(f"{case}: {what} has shape {list(got.shape)}; {want}")
    if got.dtype != expected.dtype:
        raise Wrong(f"{case}: {what} is {dtype(got)}; {want}")
    got, expected = got.detach().cpu(), expected.detach().cpu()
    if not expected.is_floating_point():
        bad = got != expected
    else:
        if tolerance is None:
            tolerance = 1e-10 if expected.dtype == torch.float64 else 1e-5
        finite = expected[expected.isfinite()].abs()
        scale = max(1.0, float(finite.max())) if len(finite) else 1.0
        bad = ~torch.isclose(got, expected, rtol=0, atol=tolerance * scale, equal_nan=True)
    if bad.any():
        at = tuple(int(i) for i in bad.nonzero()[0])
        where = f" at {list(at)}" if at else ""
        raise Wrong(f"{case}: {what}{where} is {different(got[at].item(), expected[at].item())}")


def same_number(
    got: Any,  # The reader's number
    expected: float,  # What it has to be
    case: str,  # Which case it is
    what: str = "the result",  # What is compared
    tolerance: float = 1e-6,  # Largest difference relative to the larger of 1 and the value
) -> None:
    "Raise `Wrong` unless it is the expected number, see `plain_number`."
    got = plain_number(got)
    if type(got) not in (int, float):
        raise Wrong(
            f"{case}: {what} is {nothing_or_type(got)}; expected the number {number(expected)}"
        )
    if not abs(got - expected) <= tolerance * max(1.0, abs(expected)):
        raise Wrong(f"{case}: {what} is {different(got, expected)}")


def plain_number(value: Any) -> Any:
    "A tensor of one element or a NumPy number as Python's number; anything else as it is."
    is_number = type(value) is Tensor and value.numel() == 1 and not value.is_meta
    return value.item() if is_number or isinstance(value, np.generic) else value


def different(got: Any, expected: Any) -> str:
    "Two numbers, with as many digits as it takes to tell them apart."
    pair = [number(got), number(expected)]
    if pair[0] == pair[1]:
        pair = [repr(got), repr(expected)]
    return f"{pair[0]}; expected {pair[1]}"


def nothing_or_type(got: Any) -> str:
    if isinstance(got, Tensor):
        return f"a tensor {dtype(got)} {list(got.shape)}"
    kind = type(got).__name__
    return "None" if got is None else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def number(value: Any) -> str:
    value = value.item() if isinstance(value, Tensor) else value
    return f"{value:.6g}" if isinstance(value, float) else str(value)


class Without(TorchFunctionMode):
    "While it is entered, calling one of these torch functions is `Wrong`: it is what the reader is to write."

    def __init__(
        self,
        *functions: Callable[..., Any],  # Each stands for all of torch's that have its name
        instead: str,  # What to do, for the message
    ):
        super().__init__()
        self.names, self.instead = {f.__name__ for f in functions}, instead

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "").partition(".")[0] in self.names:
            what = resolve_name(func) or func.__name__
            raise Wrong(f"it calls {what}, which is what you are to write; {self.instead}")
        return func(*args, **(kwargs or {}))
