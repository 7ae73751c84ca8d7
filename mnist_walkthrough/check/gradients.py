"Checks of the exercises of stage 9, gradients."

import sys
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mnist_walkthrough.check.core import Without, Wrong, call, exercise, plain_number, same


def random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_autograd(function: Any, x: Tensor, grad: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    return torch.autograd.grad(function(x), x, grad)[0]


class ByHand(TorchDispatchMode):
    "While it is entered, autograd and torch's own backward operations are `Wrong`."

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "backward" in func.__name__:
            raise Wrong(f"it calls torch's {func.__name__.partition('.')[0]}; use the formula")
        return func(*args, **(kwargs or {}))


def by_hand(answer: Any, *args: Any, case: str) -> Any:
    "What the reader's function gives, without autograd."
    engines = torch.autograd.grad, Tensor.backward, torch.func.jvp, torch.func.vjp
    with Without(*engines, instead="use the formula"), ByHand():
        return call(answer, *args, case=case)


@exercise(stage=9)
def kink(
    answer: Any,  # Two numbers (x, h): where, and how far to each side
) -> None:
    "Find a point and a step at which a correct gradient check of ReLU fails."
    pair = [plain_number(n) for n in answer] if isinstance(answer, tuple | list) else []
    if len(pair) != 2 or not all(type(n) in (int, float) for n in pair):
        raise Wrong(f"it takes a pair of numbers (x, h), got {answer!r}")
    x, h = pair
    if not 0 < h <= 1e-3:
        raise Wrong(f"h is {h:g}; it has to be above 0 and at most 0.001")
    if x == 0:
        raise Wrong("x is 0, where ReLU has no derivative at all; find an x at which it has one")
    if not abs(x) < h:
        raise Wrong(
            f"for x = {x:g} and h = {h:g} no kink lies between x - h and x + h, so what differs is "
            "rounding at most"
        )
    numeric = (max(0.0, x + h) - max(0.0, x - h)) / (2 * h)
    exact = float(x > 0)
    if not abs(numeric - exact) >= 0.4:
        raise Wrong(
            f"for x = {x:g} and h = {h:g} the difference quotient is {numeric:.3g} and the derivative "
            f"{exact:g}; they have to be 0.4 or more apart"
        )


@exercise(stage=9)
def sigmoid_backward(
    answer: Any,  # `answer(grad, out)`: gradient by the output, the output; gives that by the input
) -> None:
    "Write the gradient of the sigmoid from its output alone."
    for shape, scale in (((5,), 1), ((3, 4), 3), ((2, 1, 3), 10)):
        x, grad = scale * random(*shape, seed=1), random(*shape, seed=2)
        case, out = f"for an output of shape {list(shape)}", x.sigmoid()
        got = by_hand(answer, grad, out, case=case)
        slips = {
            "this is the slope alone; multiply it by grad": out * (1 - out),
            "out is the sigmoid already; do not take it again": grad
            * out.sigmoid()
            * (1 - out.sigmoid()),
            "this is the slope of tanh": grad * (1 - out * out),
        }
        for why, slip in slips.items():
            if isinstance(got, Tensor) and got.shape == slip.shape and torch.allclose(got, slip):
                raise Wrong(f"{case}: {why}")
        same(got, by_autograd(torch.sigmoid, x, grad), case)


@exercise(stage=9)
def softmax_backward(
    answer: Any,  # `answer(grad, p)`: gradient by p [n, k], p itself; gives that by the logits [n, k]
) -> None:
    "Write the gradient of the softmax, for any gradient that comes from above."
    for n, k in ((1, 3), (4, 4), (5, 2), (3, 10)):
        case = f"for {n} row{'s' * (n > 1)} of {k} probabilities"
        z, grad = 2 * random(n, k, seed=3), random(n, k, seed=4)
        p = z.softmax(1)
        got = by_hand(answer, grad, p, case=case)
        if isinstance(got, Tensor) and got.shape == p.shape:
            if torch.allclose(got, grad * p * (1 - p)):
                raise Wrong(
                    f"{case}: each logit moves its own probability only; it moves all of its row"
                )
            if n > 1 and torch.allclose(got, p * (grad - (grad * p).sum())):
                raise Wrong(f"{case}: the sum runs over all rows; each row is a softmax of its own")
            if torch.allclose(got, p * (grad - grad.mean(1, keepdim=True))):
                raise Wrong(f"{case}: it takes off the plain mean of grad; weigh it with p")
            if n == k > 1 and torch.allclose(got, p * (grad - (grad * p).sum(1))):
                raise Wrong(
                    f"{case}: each row's sum meets a column; keep its axis, with keepdim=True"
                )
        same(got, by_autograd(lambda z: z.softmax(1), z, grad), case)


@exercise(stage=9)
def rows_backward(
    answer: Any,  # `answer(grad, index, n_rows)`: gradient by x[index]; gives that by x [n_rows, ...]
) -> None:
    "Write the gradient of `x[index]`, in which a row may be taken several times."
    double, single = torch.float64, torch.float32
    cases: list[tuple[list[int], int, tuple[int, ...], torch.dtype]] = [
        ([2, 0], 4, (3,), double),
        ([1, 1, 1], 2, (3,), double),
        ([0, 3, 0, 2, 3], 5, (3,), double),
        ([], 3, (3,), double),
        ([4, 4, 0], 5, (), double),
        ([1, 0, 1], 2, (2, 3), single),
    ]
    for index, n_rows, row, of in cases:
        case = f"for index {index} of {n_rows} rows and grad {str(of)[6:]} {[len(index), *row]}"
        at = torch.tensor(index, dtype=torch.int64)
        x, grad = (random(n, *row, seed=n, dtype=of) for n in (n_rows, len(index)))
        expected = by_autograd(lambda x, at=at: x[at], x, grad)
        got = by_hand(answer, grad, at, n_rows, case=case)
        if isinstance(got, Tensor) and got.shape == expected.shape and len(set(index)) < len(index):
            last = torch.zeros_like(x)
            last[at] = grad
            if torch.equal(got, last):
                raise Wrong(
                    f"{case}: a row that was taken several times has one of its shares; it has to have "
                    "their sum (`out[index] += grad` writes each row once)"
                )
        same(got, expected, case)


@exercise(stage=9)
def order(
    answer: Any,  # `answer(inputs)`: a dict from each node to a tuple of its inputs; gives a list
) -> None:
    "Put the nodes of a graph into an order in which each stands after its inputs."
    diamond = {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("c", "b")}
    long_way = {"e": ("a", "d"), "a": (), "d": ("c",), "c": ("b",), "b": ("a",)}
    squares: dict[str, tuple[str, ...]] = {"b": ("a", "a"), "c": ("b", "a"), "a": ()}
    chain: dict[object, tuple[object, ...]] = {i: (i - 1,) if i else () for i in range(10_000)}
    backwards = dict(reversed(chain.items()))
    cases: list[tuple[str, dict[Any, Any]]] = [
        ("for no node at all", {}),
        ("for the node 'a' alone", {"a": ()}),
        (f"for {diamond}", diamond),
        (f"for {long_way}", long_way),
        (f"for {squares}", squares),
        ("for a chain of 10,000 nodes, the last one first", backwards),
    ]
    for case, inputs in cases:
        limit = sys.getrecursionlimit()
        got = call(answer, inputs, case=case)
        if sys.getrecursionlimit() != limit:
            sys.setrecursionlimit(limit)
            raise Wrong(f"{case}: it raises Python's limit; do without recursion")
        if type(got) is not list:
            raise Wrong(f"{case}: it gives a {type(got).__name__}; expected a list of nodes")
        twice = [node for i, node in enumerate(got) if node in got[:i]] if len(got) < 100 else []
        if twice:
            raise Wrong(f"{case}: {twice[0]!r} stands twice in {got}")
        strange = [node for node in got if node not in inputs]
        if strange:
            raise Wrong(f"{case}: {strange[0]!r} in the list is none of the nodes")
        missing = inputs.keys() - set(got)
        if missing:
            raise Wrong(f"{case}: {sorted(missing)[0]!r} is missing")
        at = {node: i for i, node in enumerate(got)}
        early = [(n, i) for n, of in inputs.items() for i in of if at[i] > at[n]]
        if early:
            raise Wrong(f"{case}: {early[0][0]!r} stands before its input {early[0][1]!r}")
