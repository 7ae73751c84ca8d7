"Checks of the exercises of stage 4, optimizer."

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.utils import clip_grad

from mnist_walkthrough.check.core import Wrong, call, exercise, failures, name, same, same_number
from mnist_walkthrough.check.net import a_number, generator, same_or_slip
from mnist_walkthrough.optimizer import SGD


def descent(curvatures: list[float], lr: float, momentum: float, n_steps: int = 1000) -> float:
    "How far from the bottom of 0.5 * sum(c * w²) gradient descent ends, as a share of where it began."
    c = torch.tensor(curvatures, dtype=torch.float64)
    w, v = torch.ones_like(c), torch.zeros_like(c)
    for _ in range(n_steps):
        v = momentum * v + c * w
        w = w - lr * v
    share = float(w.norm() / math.sqrt(len(c)))
    return share if math.isfinite(share) else math.inf


@exercise(stage=4)
def rescuing_rate(
    answer: Any,  # `answer(curvatures, momentum)`, a list of numbers and a number, gives a learning rate
) -> None:
    "Find a learning rate at which plain gradient descent diverges and momentum converges."
    for curvatures, momentum in (
        ([1.0, 20.0], 0.8),
        ([1.0], 0.9),
        ([3.0, 40.0, 0.5], 0.5),
        ([0.02, 0.01], 0.9),
        ([7.0, 7.0], 0.2),
    ):
        case = f"for curvatures {curvatures} and momentum {momentum:g}"
        lr = a_number(call(answer, curvatures, momentum, case=case), case)
        if not 0 < lr < math.inf:
            raise Wrong(f"{case}: the rate is {lr:g}; a learning rate is a finite number above 0")
        plain, heavy = descent(curvatures, lr, 0), descent(curvatures, lr, momentum)
        found = f"{case}: after 1,000 steps with a rate of {lr:.4g}"
        if not plain > 1:
            raise Wrong(
                f"{found} plain descent is at {plain:.2g} times the distance that it began with; "
                f"expected more than 1, the rate is too small"
            )
        if not heavy < 1e-3:
            raise Wrong(
                f"{found} momentum is at {heavy:.2g} times the distance that it began with; expected "
                f"less than 0.001, the rate is too large for the steepest curvature, {max(curvatures):g}"
            )


def leaves(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    "Parameters with random values, the same each time."
    g = generator(1)
    return [torch.randn(shape, generator=g, dtype=dtype).requires_grad_() for shape in shapes]


@exercise(stage=4)
def penalty(
    answer: Any,  # `answer(params, weight_decay)` gives a scalar to add to the loss
) -> None:
    "Write weight decay as a term of the loss."
    for shapes, weight_decay, dtype in (
        (((3,),), 0.1, torch.float32),
        (((30, 784), (30,), (10, 30), (10,)), 0.01, torch.float32),
        (((2, 2), ()), 3.0, torch.float64),
        (((4,), (5, 4)), 0.0, torch.float32),
    ):
        sizes = " and ".join(str(list(shape)) for shape in shapes)
        case = f"for parameters {sizes} and weight_decay {weight_decay:g}"
        params = leaves(*shapes, dtype=dtype)
        with failures(case, answer):
            term = answer(iter(params), weight_decay)
        if type(term) in (int, float) and term == 0 and weight_decay:
            raise Wrong(
                f"{case}: the result is the number 0, a sum over no parameter; params may be a "
                f"generator, empty after it has been read once, and all parameters count"
            )
        same(
            torch.zeros_like(term) if type(term) is Tensor else term,
            torch.zeros((), dtype=dtype),
            case,
        )
        if not term.requires_grad:
            raise Wrong(
                f"{case}: the result has no gradient, so it would not move a weight; build it from tensors"
            )
        with failures(case, answer):
            term.backward()
        length = torch.cat([p.detach().flatten() for p in params]).norm()
        n = sum(p.numel() for p in params)
        for i, (p, before) in enumerate(zip(params, leaves(*shapes, dtype=dtype), strict=True)):
            w = before.detach()
            same(p.detach(), w, case, f"parameter {i} afterwards", tolerance=0)
            if p.grad is None:
                raise Wrong(
                    f"{case}: parameter {i}, of shape {list(p.shape)}, gets no gradient; weight decay "
                    f"is for all parameters that are given"
                )
            slips = {
                "the derivative of w² is 2 w, which wants a half before it": 2 * weight_decay * w,
                "the length of the weights is not squared": weight_decay * w / length,
                "this is the absolute value of the weights, not their square": weight_decay * w.sign(),
                "the squares are to be added up, not averaged": weight_decay * w / n,
                "the squares are to be added up, not averaged (nor is the half there)": (
                    2 * weight_decay * w / n
                ),
                "it is averaged within each parameter": weight_decay * w / w.numel(),
                "it grows instead of shrinking": -weight_decay * w,
            }  # fmt: skip
            same_or_slip(p.grad, weight_decay * w, slips, case, f"the gradient of parameter {i}")


@contextmanager
def without(target: Any, attribute: str, what: str, instead: str) -> Iterator[None]:
    "While it is entered, using this attribute is `Wrong`: it is part of what the reader is to write."

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise Wrong(f"it uses {what}, which is what you are to write; {instead}")

    with patch.object(target, attribute, refuse, create=True):
        yield


def norm_of(gradients: list[Tensor]) -> Tensor:
    squares = [g.square().sum() for g in gradients]
    return torch.stack(squares or [torch.zeros(())]).sum().sqrt()


@exercise(stage=4)
def clip_gradients(
    answer: Any,  # `answer(params, max_norm)` scales the gradients and returns the norm that they had
) -> None:
    "Write gradient clipping by the norm of all gradients together."
    a, b = torch.tensor([2.0, 1.0]), torch.tensor([[2.0], [4.0]])
    random = [p.detach() for p in leaves((30, 784), (30,), (10, 30), (10,))]
    for gradients, max_norm, words in (
        ([a, b], 1.0, "gradients [2, 1] and [[2], [4]]"),
        ([a, b], 10.0, "gradients [2, 1] and [[2], [4]]"),
        ([a, b], 5.0, "gradients [2, 1] and [[2], [4]]"),
        ([a, None, b], 1.0, "gradients [2, 1], None and [[2], [4]]"),
        ([torch.zeros(3), torch.zeros(2, 2)], 1.0, "gradients that are all 0"),
        ([torch.tensor(-2.0).double()], 0.5, "one gradient, the float64 number -2"),
        (random, 0.25, "random gradients [30, 784], [30], [10, 30] and [10]"),
        ([None], 1.0, "a parameter that has no gradient"),
    ):
        case = f"for {words} and max_norm {max_norm:g}"
        params = [torch.ones(1 if g is None else g.shape).requires_grad_() for g in gradients]
        for p, g in zip(params, gradients, strict=True):
            if g is not None:
                p.data = p.data.to(g.dtype)
                p.grad = g.clone()
        instead = "the norm is the root of the sum of all squares"
        with (
            without(clip_grad, "_group_tensors_by_device_and_dtype", "torch's clipping", instead),
            failures(case, answer),
        ):
            returned = answer(iter(params), max_norm)
        there = [g for g in gradients if g is not None]
        norm = norm_of(there)
        factor = min(1.0, max_norm / float(norm)) if norm > 0 else 1.0
        largest = max((float(g.abs().max()) for g in there), default=0.0)
        for i, (p, g) in enumerate(zip(params, gradients, strict=True)):
            what = f"gradient {i}"
            same(p.detach(), torch.ones_like(p), case, f"parameter {i}", tolerance=0)
            if g is None:
                if p.grad is not None:
                    raise Wrong(f"{case}: {what} was None and is a tensor now; leave it None")
                continue
            slips = {
                "nothing is clipped: either params, which may be a generator, is read twice, or a new "
                "tensor is made and p.grad is still the old one": g,
                "0 divided by 0": torch.full_like(g, math.nan),
                "what is short enough stays as it is": g * (max_norm / norm),
                "each gradient is clipped by its own norm; all go by the norm of all together": (
                    g * (max_norm / g.norm()).clamp(max=1)
                ),
                "each number is clipped, which turns the direction; scale all by one factor": (
                    g.clamp(-max_norm, max_norm)
                ),
                "the norms add up by their squares": (
                    g * max_norm / torch.stack([other.norm() for other in there]).sum()
                ),
                "the sum of the squares wants its root": g * max_norm / norm.square(),
                "this goes by the largest number, not by the norm": g * max_norm / largest,
            }
            tolerance = 0.0 if norm < max_norm else 1e-5
            same_or_slip(p.grad, g * factor, slips, case, what, tolerance)
        before = a_number(returned, case, "what it returns")
        if factor < 1 and math.isclose(before, max_norm, rel_tol=1e-4):
            raise Wrong(
                f"{case}: what it returns is {before:g}; expected {float(norm):g}, the norm from before the clipping"
            )
        same_number(before, float(norm), case, "what it returns", tolerance=1e-5)


Gradients = list[Tensor | None]  # One for each parameter
Run = list[tuple[float, Gradients]]  # Learning rate and gradients of each step
Rule = Callable[
    [dict[str, Any], Tensor, float], Tensor
]  # memory, gradient, rate -> step to subtract
IN_PLACE = "gradients that are overwritten in place"


def runs() -> Iterator[tuple[str, list[Tensor], Run]]:
    "What an optimizer has to do: in words, with the parameters at the start."
    g = generator(2)

    def some(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Gradients:
        return [torch.randn(shape, generator=g, dtype=dtype) for shape in shapes]

    yield "one parameter [3]", leaves((3,)), [(0.1, some((3,))) for _ in range(5)]
    shapes = ((3, 2), (3,), ())
    yield "three parameters", leaves(*shapes), [(0.1, some(*shapes)) for _ in range(5)]
    run: Run = [(lr, some((4,))) for lr in (0.1, 0.1, 0.01, 0.01, 0.5)]
    yield "a rate that changes", leaves((4,)), run
    run = [(0.1, some((2,), (3,))) for _ in range(6)]
    for i in (0, 1, 4):
        run[i][1][1] = None
    yield "a second parameter that at times has no gradient", leaves((2,), (3,)), run
    run = [(0.1, some((3,), dtype=torch.float64)) for _ in range(30)]
    yield "float64", leaves((3,), dtype=torch.float64), run
    zero: Gradients = [torch.zeros(2)]
    run = [(0.1, some((2,))), (0.1, zero), (0.1, zero), (0.1, zero)]
    yield "a gradient that becomes 0", leaves((2,)), run
    run = [(0.1, some((3,))) for _ in range(4)]
    yield IN_PLACE, leaves((3,)), run
    run = [(0.1, some((3,), (3,), (3,))) for _ in range(6)]
    run[1][1][0] = run[3][1][0] = run[4][1][1] = None
    yield (
        "three parameters of one shape, the first at times without a gradient",
        leaves((3,), (3,), (3,)),
        run,
    )


def follow(rule: Rule, starts: list[Tensor], run: Run) -> list[list[Tensor]]:
    "Where the parameters are after each step of a rule that is applied to each on its own."
    at = [w.detach() for w in starts]
    memories: list[dict[str, Any]] = [{"k": k, "n": len(at)} for k in range(len(at))]
    path = []
    for i, (lr, gradients) in enumerate(run, 1):
        for k, g in enumerate(gradients):
            if g is not None:
                memories[k].update(i=i, t=memories[k].get("t", 0) + 1)
                at[k] = at[k] - rule(memories[k], g, lr)
        path.append(list(at))
    return path


def like_optimizer(
    answer: Any,  # The reader's class
    options: dict[str, Any],  # What it is given beside params and lr
    library: Callable[..., torch.optim.Optimizer],  # What it stands for
    slips: dict[str, Rule],  # Rules that it may follow instead, by what to say of them
) -> None:
    "Raise `Wrong` unless the parameters go the library's way, step by step."
    given = "".join(f", {key}={value}" for key, value in options.items())
    for words, starts, run in runs():
        mine = [w.detach().clone().requires_grad_() for w in starts]
        optimizer = library(mine, lr=0.1, **options)
        expected = []
        for lr, gradients in run:
            optimizer.param_groups[0]["lr"] = lr
            for p, g in zip(mine, gradients, strict=True):
                p.grad = g
            optimizer.step()
            expected.append([p.detach().clone() for p in mine])
        paths = {said: follow(rule, starts, run) for said, rule in slips.items()}
        with ExitStack() as forbidden:
            for target, attribute in library_steps():
                forbidden.enter_context(without(target, attribute, "a library's optimizer", OWN))
            case = f"with lr={run[0][0]:g}{given} and {words}"
            compare(answer, options, starts, run, expected, paths, case)


OWN = "keep what you need in tensors of your own"
LIBRARY_CLASSES = (SGD, *(c for c in vars(torch.optim).values() if isinstance(c, type)))


def refuse_borrowed(optimizer: Any) -> None:
    "Raise `Wrong` when a reader's optimizer is a library's, or has functions of our SGD."
    kind = type(optimizer)
    for base in kind.__mro__:
        if base in LIBRARY_CLASSES:
            raise Wrong(
                f"{kind.__name__} is made of {base.__module__}.{base.__name__}; inherit from "
                f"mnist_walkthrough.optimizer.Optimizer or from nothing"
            )
        for key, value in vars(base).items():
            if callable(value) and any(value is own for own in vars(SGD).values()):
                raise Wrong(f"the {key} of {kind.__name__} is that of SGD; write your own")


def library_steps() -> Iterator[tuple[Any, str]]:
    "The functions that compute the steps of our SGD and torch's SGD, Adam and AdamW, however they are called."
    yield SGD, "direction"
    for module in (sys.modules["torch.optim.sgd"], sys.modules["torch.optim.adam"]):
        for attribute in list(vars(module)):
            if attribute.startswith(("_single_tensor_", "_multi_tensor_", "_fused_")):
                yield module, attribute


def compare(
    answer: Any,
    options: dict[str, Any],
    starts: list[Tensor],
    run: Run,
    expected: list[list[Tensor]],
    slips: dict[str, list[list[Tensor]]],
    case: str,
) -> None:
    path: list[list[Tensor]] = []
    trouble = None
    try:
        for at in walked(answer, options, starts, run, case):
            path.append(at)
    except Wrong as wrong:
        trouble = wrong
    others = {  # those that explain all steps, not one alone
        said: other
        for said, other in slips.items()
        if all(close(a, b) for a, b in zip(path, other, strict=False))
    }
    for i, (at, right) in enumerate(zip(path, expected, strict=False)):
        for k, (got, want) in enumerate(zip(at, right, strict=True)):
            known = {said: other[i][k] for said, other in others.items()}
            if case.endswith(IN_PLACE):
                known["is what you remember the gradient itself? clone it"] = got
            same_or_slip(got, want, known, f"{case}, after step {i + 1}", f"parameter {k}")
    if trouble:
        raise trouble


def close(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.allclose(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


def walked(
    answer: Any, options: dict[str, Any], starts: list[Tensor], run: Run, case: str
) -> Iterator[list[Tensor]]:
    "Where the reader's optimizer takes the parameters, step by step."
    params = [w.detach().clone().requires_grad_() for w in starts]
    given = iter(params)
    with failures(case, answer):
        optimizer = answer(given, lr=run[0][0], **options)
    refuse_borrowed(optimizer)
    for attribute in ("step", "zero_grad", "lr"):
        if not hasattr(optimizer, attribute):
            raise Wrong(f"{case}: {name(answer)} has no {attribute}")
    if any(value is given for value in getattr(optimizer, "__dict__", {}).values()):
        raise Wrong(
            f"{case}: {name(answer)} keeps params as they are given, which may be a generator, "
            f"empty after it has been read once; keep list(params)"
        )
    in_place = case.endswith(IN_PLACE)
    for i, (lr, gradients) in enumerate(run, 1):
        here = f"{case}, after step {i}"
        for p, g in zip(params, gradients, strict=True):
            if in_place and p.grad is not None and g is not None:
                p.grad.copy_(g)
            else:
                p.grad = None if g is None else g.clone()
        before = [p.detach().clone() for p in params]
        with failures(here, optimizer):
            optimizer.lr = lr
            optimizer.step()
        for k, (p, g) in enumerate(zip(params, gradients, strict=True)):
            if g is None and not torch.equal(p, before[k]):
                raise Wrong(f"{here}: parameter {k} moves in a step in which it has no gradient")
        yield [p.detach().clone() for p in params]
        for k, (p, g) in enumerate(zip(params, gradients, strict=True)):
            if g is not None and not (p.grad is not None and torch.equal(p.grad, g)):
                raise Wrong(f"{here}: the gradient of parameter {k} is changed; leave it as it is")
        if not in_place:
            with failures(here, optimizer):
                optimizer.zero_grad()
            if any(p.grad is not None and p.grad.any() for p in params):
                raise Wrong(f"{here}: zero_grad leaves gradients that are not 0")


def velocity(memory: dict[str, Any], g: Tensor, momentum: float, share: float = 1.0) -> Tensor:
    "The running sum of gradients, to which each adds this share of itself."
    v: Tensor = momentum * memory.get("v", torch.zeros_like(g)) + share * g
    memory["v"] = v
    return v


def momentum_rules(momentum: float) -> dict[str, Rule]:
    "What one may take for momentum, or for Nesterov's."
    return {
        "this is plain momentum": lambda memory, g, lr: lr * velocity(memory, g, momentum),
        "this is Nesterov's form": (
            lambda memory, g, lr: lr * (g + momentum * velocity(memory, g, momentum))
        ),
        "this is a step without momentum": lambda memory, g, lr: lr * g,
        "nothing moves": lambda memory, g, lr: 0 * g,
        "it climbs": lambda memory, g, lr: -lr * velocity(memory, g, momentum),
        "the gradient goes in whole, not with the share 1 - momentum": (
            lambda memory, g, lr: lr * velocity(memory, g, momentum, 1 - momentum)
        ),
        "the rate belongs to the step; in the velocity, old rates live on": (
            lambda memory, g, lr: velocity(memory, g, momentum, lr)
        ),
        "the rate belongs to the step; in Nesterov's velocity, old rates live on": (
            lambda memory, g, lr: lr * g + momentum * velocity(memory, g, momentum, lr)
        ),
        "the rate of the beginning counts; lr is read at each step": (
            lambda memory, g, lr: memory.setdefault("lr", lr) * velocity(memory, g, momentum)
        ),
        "the velocity is added whole; it wants momentum before it": (
            lambda memory, g, lr: lr * (g + velocity(memory, g, momentum))
        ),
        "the gradient itself is missing": (
            lambda memory, g, lr: lr * momentum * velocity(memory, g, momentum)
        ),
        "velocity plus momentum times velocity counts the past twice": (
            lambda memory, g, lr: lr * (1 + momentum) * velocity(memory, g, momentum)
        ),
    }


@exercise(stage=4)
def momentum(
    answer: Any,  # A class: `answer(params, lr, momentum)` with `step`, `zero_grad` and `lr`
) -> None:
    "Write SGD with momentum, as `torch.optim.SGD`."
    for value in (0.9, 0.5, 0.0):
        like_optimizer(answer, {"momentum": value}, torch.optim.SGD, momentum_rules(value))


@exercise(stage=4)
def nesterov(
    answer: Any,  # A class: `answer(params, lr, momentum)` with `step`, `zero_grad` and `lr`
) -> None:
    "Change momentum into Nesterov's, as `torch.optim.SGD(..., nesterov=True)`."
    library = partial(torch.optim.SGD, nesterov=True)
    for value in (0.9, 0.5):
        like_optimizer(answer, {"momentum": value}, library, momentum_rules(value))


def adam_rule(
    beta1: float,
    beta2: float,
    eps: float,
    step: Callable[..., Tensor],
    count: str = "t",
    slip: str = "",
) -> Rule:
    "A rule that keeps the means of gradients and squares, with `step(m, v, c1, c2, eps)` as its step."
    shares = (1, 1) if slip == "whole" else (1 - beta1, 1 - beta2)

    def rule(memory: dict[str, Any], g: Tensor, lr: float) -> Tensor:
        memory["m"] = beta1 * memory.get("m", 0) + shares[0] * g
        memory["s"] = beta2 * memory.get("s", 0) + shares[1] * g.square()
        t = {
            "t": memory["t"],
            "always 1": 1,
            "steps": memory["i"],
            "from 0": memory["t"] - 1,
            "calls": (memory["i"] - 1) * memory["n"] + memory["k"] + 1,
        }[count]
        taken = lr * step(memory["m"], memory["s"], 1 - beta1**t, 1 - beta2**t, eps)
        if slip == "stored":
            memory["m"], memory["s"] = memory["m"] / (1 - beta1**t), memory["s"] / (1 - beta2**t)
        return taken

    return rule


@exercise(stage=4)
def adam(
    answer: Any,  # A class: `answer(params, lr, betas, eps)` with `step`, `zero_grad` and `lr`
) -> None:
    "Write Adam, as `torch.optim.Adam`."

    def right(m: Tensor, s: Tensor, c1: float, c2: float, eps: float) -> Tensor:
        return m / c1 / ((s / c2).sqrt() + eps)

    for betas, eps in (((0.9, 0.999), 0.01), ((0.5, 0.8), 1e-8)):
        b1, b2 = betas
        slips = {
            "the means start at 0 and are not corrected for it: divide by 1 - beta**t": (
                adam_rule(b1, b2, eps, lambda m, s, c1, c2, eps: m / (s.sqrt() + eps))
            ),
            "the mean of the squares is not corrected": (
                adam_rule(b1, b2, eps, lambda m, s, c1, c2, eps: m / c1 / (s.sqrt() + eps))
            ),
            "the mean of the gradients is not corrected": (
                adam_rule(b1, b2, eps, lambda m, s, c1, c2, eps: m / ((s / c2).sqrt() + eps))
            ),
            "the root of the mean of the squares is missing": (
                adam_rule(b1, b2, eps, lambda m, s, c1, c2, eps: m / c1 / (s / c2 + eps))
            ),
            "eps is added after the root": (
                adam_rule(b1, b2, eps, lambda m, s, c1, c2, eps: m / c1 / (s / c2 + eps).sqrt())
            ),
            "the first step is number 1; counted from 0, the corrections divide 0 by 0": (
                adam_rule(b1, b2, eps, right, "from 0")
            ),
            "the corrections are 1 - beta in each step; they are 1 - beta**t": (
                adam_rule(b1, b2, eps, right, "always 1")
            ),
            "the corrected means are kept; correct a copy, and keep the means as they are": (
                adam_rule(b1, b2, eps, right, slip="stored")
            ),
            "the new goes in whole, not with the share 1 - beta": (
                adam_rule(b1, b2, eps, right, slip="whole")
            ),
            "it climbs": adam_rule(b1, b2, eps, lambda *means: -right(*means)),
            "eps is missing": adam_rule(b1, b2, 0, right),
            "the two betas are exchanged": adam_rule(b2, b1, eps, right),
            "the count of steps goes up with each parameter; it goes up once a step": (
                adam_rule(b1, b2, eps, right, "calls")
            ),
            "a step in which a parameter has no gradient does not count for it": (
                adam_rule(b1, b2, eps, right, "steps")
            ),
        }
        like_optimizer(answer, {"betas": betas, "eps": eps}, torch.optim.Adam, slips)
