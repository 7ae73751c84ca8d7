"Checks of the exercises of stage 5, loss."

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from mnist_walkthrough.check.core import (
    Without,
    Wrong,
    call,
    exercise,
    failures,
    nothing_or_type,
    same,
)

OVERFLOW = "exp or log has left the range of the dtype; use log_softmax"


@contextmanager
def slips(
    got: Any,  # What the reader's object returns
    expected: Any,  # A number or tensor
    known: dict[str, Any],  # {what went wrong: the number or tensor that comes of it}
    not_finite: str = "",  # What went wrong if it is NaN or infinite
) -> Iterator[None]:
    "When a result is `Wrong` and is what comes of a known slip, the slip is named."
    try:
        yield
    except Wrong as wrong:
        if type(got) in (float, int) or (type(got) is Tensor and has_numbers(got)):
            got = torch.as_tensor(got)
            for words, value in known.items():
                if close(got, value) and not close(torch.as_tensor(expected), value):
                    raise Wrong(f"{wrong}: {words}") from None
            if not_finite and not got.isfinite().all():
                raise Wrong(f"{wrong}: {not_finite}") from None
        raise


def has_numbers(tensor: Tensor) -> bool:
    return not tensor.is_meta and tensor.layout is torch.strided


def close(a: Tensor, b: Any) -> bool:
    a, b = a.detach().double(), torch.as_tensor(b).detach().double()
    return a.shape == b.shape and torch.allclose(a, b, 1e-5, 1e-6, equal_nan=True)


def loss_is(
    answer: Any,  # The reader's function of logits and more
    library: Callable[..., Tensor],  # What it has to equal, in value and gradient
    case: str,
    logits: Tensor,
    *args: Any,
    known: dict[str, Any],  # Slips in the value, and what comes of them here
    not_finite: str,  # The slip if the value is not finite
    without: Without,
    bent: dict[str, Any] | None = None,  # Slips in the gradient
    tolerance: float | None = None,  # As for `same`
) -> None:
    "Raise `Wrong` unless value and gradient are the library's."
    z = logits.clone().requires_grad_()
    expected = library(z, *args)
    (slope,) = torch.autograd.grad(expected.sum(), z)
    z = logits.clone().requires_grad_()
    copies = [arg.clone() if isinstance(arg, Tensor) else arg for arg in args]
    with without:
        got = call(answer, logits, *args, case=case)
        with slips(got, expected, known, not_finite):
            same(got, expected, case, tolerance=tolerance)
        with failures(case, answer):
            got = answer(z, *copies)
    if type(got) is not Tensor or not got.requires_grad:
        raise Wrong(
            f"{case}: autograd cannot go back through the result; compute it with torch's "
            "operations, without item(), detach(), no_grad() or numpy"
        )
    with failures(case, answer):
        got.sum().backward()
    not_finite = (
        "the loss is right, but its gradient is not finite; torch.where computes both branches, and "
        "0 times infinity is NaN"
    )
    with slips(z.grad, slope, bent or {}, not_finite):
        same(z.grad, slope, case, "the gradient for the logits", tolerance)


def normal(*shape: int, seed: int = 0, scale: float = 1) -> Tensor:
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def classes(n: int, n_classes: int) -> Tensor:
    return torch.randint(n_classes, (n,), generator=torch.Generator().manual_seed(n))


def batches() -> Iterator[tuple[str, Tensor, Tensor]]:
    "Batches of logits and target, each with its case."
    yield "for a batch of 1 with 10 classes", normal(1, 10), classes(1, 10)
    yield "for a batch of 7 with 2 classes", normal(7, 2), classes(7, 2)
    yield "for logits of thousands", normal(5, 10, scale=1000), classes(5, 10)
    yield "for a batch of 33 in float64", normal(33, 4).double(), classes(33, 4)


@exercise(stage=5)
def nan_gradient(
    answer: Any,  # A pair: logits, float32 [n, n_classes], and target, int64 [n]
) -> None:
    "Find logits, none beyond 60 in size, whose naive loss is finite while its gradient is NaN."
    if type(answer) not in (tuple, list) or len(answer) != 2:
        raise Wrong(f"it is {nothing_or_type(answer)}; give a pair (logits, target)")
    logits, target = answer
    for given, name, dims, kind in (
        (logits, "logits", ["n", "n_classes"], torch.float32),
        (target, "target", ["n"], torch.int64),
    ):
        want = f"expected a tensor {str(kind)[6:]} [{', '.join(dims)}]"
        is_tensor = type(given) in (Tensor, torch.nn.Parameter)
        if not is_tensor or given.dtype != kind or given.ndim != len(dims):
            raise Wrong(f"{name} is {nothing_or_type(given)}; {want}")
        if not has_numbers(given):
            raise Wrong(f"{name} is a tensor without its numbers, or a sparse one; {want}")
    n, n_classes = logits.shape
    if not logits.numel() or len(target) != n or set(target.tolist()) - set(range(n_classes)):
        raise Wrong(
            f"for logits of shape {[n, n_classes]} the target is {target.tolist()}; expected a class "
            "for each row, and one row at least"
        )
    z = logits.detach().clone().requires_grad_()
    largest = z.abs().max().item()
    if not largest <= 60:
        raise Wrong(f"the largest logit in size is {largest:g}; none may be beyond 60")
    p = z.exp() / z.exp().sum(1, keepdim=True)
    loss = -p.log().gather(1, target[:, None]).mean()
    if not loss.isfinite():
        raise Wrong(
            f"for these logits the naive loss is {loss.item():g}; it has to be finite, so a class "
            "whose probability is 0 must not be the right one"
        )
    (gradient,) = torch.autograd.grad(loss, z)
    if not gradient.isnan().any():
        raise Wrong(
            f"for these logits the naive loss is {loss.item() + 0:g}, but no number of its gradient is NaN; "
            f"the smallest probability is {p.min().item():.2g}, and it has to be 0"
        )


@exercise(stage=5)
def logsumexp(
    answer: Any,  # A function: `answer(logits)` maps [n, n_classes] to [n]
) -> None:
    "Write the logarithm of each row's sum of exponentials, for logits of any size and for −∞."
    without = Without(
        torch.logsumexp,
        Tensor.logsumexp,
        torch.special.logsumexp,
        torch.logcumsumexp,
        Tensor.logcumsumexp,
        torch.log_softmax,
        Tensor.log_softmax,
        torch.special.log_softmax,
        F.log_softmax,
        F.cross_entropy,
        instead="use exp, sum and log",
    )
    rows: dict[str, Any] = {
        f"for logits {z}": torch.tensor(z)
        for z in (
            [[1.0, 2.0, 3.0]],
            [[100.0, 90.0]],
            [[-200.0, -201.0]],
            [[1000.0, 0.0], [0.0, 1.0]],
            [[0.0, -torch.inf, 2.0]],
        )
    } | {case: z for case, z, _ in batches()}
    for case, z in rows.items():
        top = z.max(1).values
        loss_is(
            answer,
            lambda z: torch.logsumexp(z, 1),
            case,
            z,
            known={
                "the maximum that was taken off has to be added to the logarithm again": (
                    torch.logsumexp(z, 1) - top
                ),
                "each row needs its own maximum, not that of the whole tensor": (
                    (z - z.max()).exp().sum(1).log() + z.max()
                ),
            },
            not_finite="the exponentials have left the range of the dtype; take each row's maximum "
            "off first",
            without=without,
        )
    z = torch.tensor([[-torch.inf, -torch.inf], [0.0, 0.0]])
    case = f"for logits {z.tolist()}"
    with without:
        got = call(answer, z, case=case)
    taken = "a maximum of -inf was taken off, and -inf - (-inf) is NaN"
    expected = torch.logsumexp(z, 1)
    with slips(got, expected, {taken: [torch.nan, math.log(2)]}):
        same(got, expected, case)


@exercise(stage=5)
def label_smoothing(
    answer: Any,  # A function: `answer(logits, target, eps)` gives a scalar
) -> None:
    "Write cross-entropy with smoothed labels, as `F.cross_entropy(label_smoothing=eps)`."
    without = Without(
        F.cross_entropy,
        torch._C._nn.cross_entropy_loss,
        instead="use log_softmax and the smoothed target",
    )
    cases = [
        (
            f"for logits [[2, 0, -1]], target {[y]}",
            torch.tensor([[2.0, 0, -1]]),
            torch.tensor([y]),
            eps,
        )
        for y, eps in ((1, 0.3), (0, 0.0), (2, 1.0))
    ]
    cases += [(case, z, y, 0.1) for case, z, y in batches()]
    for case, z, y, eps in cases:
        n, n_classes = z.shape
        log_p = z.log_softmax(1)
        q = torch.full((n_classes,), eps / n_classes)
        q[0] += 1 - eps
        right, every = -log_p.gather(1, y[:, None]).mean(), -log_p.sum(1).mean()
        loss_is(
            answer,
            lambda z, y, eps: F.cross_entropy(z, y, label_smoothing=eps),
            f"{case} and eps = {eps}",
            z,
            y,
            eps,
            known={
                "this is the other variant, eps / (n_classes - 1) for each of the other classes; "
                "here every class gets eps / n_classes, the right one too": (
                    (1 - eps) * right + eps * (every - right) / (n_classes - 1)
                ),
                "the right class needs its eps / n_classes too, or the smoothed target does not "
                "sum to 1": (1 - eps) * right + eps * (every - right) / n_classes,
                "eps goes to each class undivided; it is eps / n_classes": (
                    (1 - eps) * right + eps * every
                ),
                "1 - eps and eps have changed places": eps * right + (1 - eps) * every / n_classes,
                "nothing was taken from the right class for what all get": (
                    right + eps * every / n_classes
                ),
                "this is the loss without smoothing": right,
                "this is the Kullback-Leibler divergence, the entropy of the smoothed target is "
                "taken off": (
                    (1 - eps) * right + eps * every / n_classes - torch.special.entr(q).sum()
                ),
                "these are the losses of the rows added up; it is their mean": (
                    n * ((1 - eps) * right + eps * every / n_classes)
                ),
                "the mean was taken over all entries; within a row it is a sum": (
                    ((1 - eps) * right + eps * every / n_classes) / n_classes
                ),
            },
            not_finite=OVERFLOW,
            without=without,
            tolerance=1e-6 if z.dtype == torch.float64 else None,  # `one_hot * eps` is float32
        )


@exercise(stage=5)
def weighted_cross_entropy(
    answer: Any,  # A function: `answer(logits, target, weight)` gives a scalar
) -> None:
    "Write cross-entropy with a weight for each class, as `F.cross_entropy(weight=weight)`."
    inner = ("cross_entropy_loss", "nll_loss_nd", "nll_loss2d")
    ready = F.cross_entropy, F.nll_loss, *(getattr(torch._C._nn, key) for key in inner)
    without = Without(*ready, instead="use log_softmax, and look up each row's weight")
    cases = [
        (
            f"for logits [[2, 0], [0, 1]], target {y} and weight {weight}",
            torch.tensor([[2.0, 0], [0, 1]]),
            torch.tensor(y),
            torch.tensor(weight),
        )
        for y, weight in (([0, 1], [1.0, 3.0]), ([1, 1], [1.0, 3.0]), ([0, 1], [0.0, 5.0]))
    ]
    for case, z, y in batches():
        weight = normal(z.shape[1], seed=1).abs().to(z.dtype)
        cases.append((f"{case} and random weights", z, y, weight))
    for case, z, y, weight in cases:
        losses = -z.log_softmax(1).gather(1, y[:, None]).squeeze(1)
        total = (weight[y] * losses).sum()
        loss_is(
            answer,
            lambda z, y, weight: F.cross_entropy(z, y, weight),
            case,
            z,
            y,
            weight,
            known={
                "it was divided by the number of rows; torch divides by the sum of their weights": (
                    total / len(y)
                ),
                "it was divided by the weights of all classes; torch divides by those of the rows, "
                "each row's weight being that of its target": total / weight.sum(),
                "it was not divided by the weights": total,
                "this is the loss without weights": losses.mean(),
                "the logits were weighted; weigh the losses": F.cross_entropy(z * weight, y),
            },
            not_finite=OVERFLOW,
            without=without,
        )


@exercise(stage=5)
def binary_cross_entropy(
    answer: Any,  # A function: `answer(logits, target)`, both float [n], gives a scalar
) -> None:
    "Write the loss of yes-or-no questions, as `F.binary_cross_entropy_with_logits`."
    ready: tuple[Any, ...] = (
        F.binary_cross_entropy_with_logits,
        torch.binary_cross_entropy_with_logits,
    )
    ready += (F.multilabel_soft_margin_loss, F.logsigmoid, F.softplus)
    without = Without(*ready, instead="use exp and log")
    cases = [
        (f"for logits {z} and target {y}", torch.tensor(z), torch.tensor(y))
        for z, y in (
            ([1.0, -2.0], [1.0, 1.0]),
            ([1.0, -2.0], [0.0, 0.0]),
            ([3.0], [0.25]),
            ([-200.0], [1.0]),
            ([200.0], [0.0]),
            ([200.0], [1.0]),
            ([0.0], [1.0]),
        )
    ]
    cases += [
        ("for 99 logits of tens", normal(99, scale=50), normal(99, seed=1).sigmoid()),
        (
            "for 8 logits of thousands in float64",
            normal(8, scale=1000).double(),
            (normal(8, seed=1) > 0).double(),
        ),
    ]
    for case, z, y in cases:
        yes, no = -(y * F.logsigmoid(z)).mean(), -((1 - y) * F.logsigmoid(-z)).mean()
        exchanged = -(y * F.logsigmoid(-z) + (1 - y) * F.logsigmoid(z)).mean()
        loss_is(
            answer,
            F.binary_cross_entropy_with_logits,
            case,
            z,
            y,
            known={
                "this is minus the loss": -(yes + no),
                "the part of 1 - target is missing": yes,
                "target and 1 - target have changed places": exchanged,
                "these are the losses added up; it is their mean": (yes + no) * len(z),
            }
            | {
                f"a probability is kept above {least:.2g}, so no loss is larger than this; work from "
                "the logit": -math.log(least)
                for least in (math.exp(-100), 1e-15, 1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6)
            },
            not_finite="exp or log has left the range of the dtype; take exp only of numbers that "
            "are not positive, and log of none that may be 0",
            without=without,
            bent={
                "clamp has a kink at 0, where autograd takes the slope of its right side": [0.0],
                "relu has a kink at 0, where autograd takes the slope of its left side": [-1.0],
            },
        )
