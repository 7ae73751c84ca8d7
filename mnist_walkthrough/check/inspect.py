"Checks of the exercises of stage 10, inspect."

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from mnist_walkthrough.check.core import (
    Wrong,
    call,
    exercise,
    failures,
    nothing_or_type,
    same,
    same_number,
)
from mnist_walkthrough.net import mlp


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def named(
    wrong: Wrong,  # What is wrong with it
    got: Any,  # What the reader's function gave
    slips: dict[str, Tensor],  # What a slip would give, by the words for it
) -> Wrong:  # With the words of the slip that gives the same
    number = torch.tensor(got) if type(got) in (int, float) else got
    for words, slip in slips.items():
        is_like = type(number) is Tensor and number.shape == slip.shape
        if is_like and torch.allclose(number.detach().double(), slip.double(), rtol=0, atol=1e-6):
            return Wrong(f"{wrong}: {words}")
    return wrong


def mean_of_top(right: Tensor, ranking: Tensor, n: int) -> Tensor:
    return right[ranking.topk(n).indices].mean()


@exercise(stage=10)
def accuracy_when_sure(
    answer: Any,  # A function: `answer(logits, target, keep)` gives a number
) -> None:
    "Write the accuracy on the share of rows with the largest confidence."
    for n, keep, dtype in (
        (500, 0.5, torch.float64),
        (40, 1.0, torch.float32),
        (7, 0.5, torch.float64),
        (9, 0.25, torch.float64),
        (3, 0.1, torch.float32),
        (1, 0.4, torch.float64),
        (501, 0.9, torch.float32),
    ):
        g = seeded(n)
        logits = 2 * torch.randn(n, 5, generator=g, dtype=torch.float64)
        p = logits.softmax(1).amax(1)
        is_lucky = torch.rand(n, generator=g, dtype=torch.float64) < p
        target = torch.where(is_lucky, logits.argmax(1), torch.randint(5, (n,), generator=g))
        logits = (logits + 10 * torch.randn(n, 1, generator=g, dtype=torch.float64)).to(dtype)
        right, size = (logits.argmax(1) == target).double(), max(1, round(keep * n))
        expected = mean_of_top(right, p, size)
        slips = {
            "this is the accuracy of the rows with the largest logit, which is no confidence": (
                mean_of_top(right, logits.amax(1), size)
            ),
            "this is the accuracy of the least sure": mean_of_top(right, -p, size),
            "this is the accuracy of all rows": right.mean(),
            "this divides by all rows, not by those that are kept": expected * size / n,
            "this takes the first rows, whatever their confidence": right[:size].mean(),
            "this keeps int(keep * n) rows": mean_of_top(right, p, max(1, int(keep * n))),
            "this keeps ceil(keep * n) rows": mean_of_top(right, p, math.ceil(keep * n)),
            "this keeps the rows with a confidence of `keep` or more, however many they are": (
                right[p >= keep].mean()
            ),
            "this ranks by the probability of the true class, which is not known when one answers": (
                mean_of_top(right, logits.softmax(1)[torch.arange(n), target], size)
            ),
        }
        case = f"for {n} rows and keep={keep}"
        if n < 10:
            pairs = zip(p.tolist(), right.tolist(), strict=True)
            rows = ", ".join(f"{q:.2f} {'right' if ok else 'wrong'}" for q, ok in pairs)
            case += f" (confidences: {rows})"
        got = call(answer, logits, target, keep, case=case)
        try:
            same_number(got, float(expected), case)
        except Wrong as wrong:
            raise named(wrong, got, slips) from None


def sum_by_square(values: Tensor, covered: Tensor) -> Tensor:
    return (values[:, None] * covered).sum(2).view(-1, 7, 7)


def falls(model: nn.Module, x: Tensor, k: int, hidden: Tensor, ink: float = 0.0) -> Tensor:
    "What the logit loses when each mask of `hidden` [49, 784] is covered with `ink`: [n, 7, 7]."
    with torch.no_grad():
        left: Tensor = model(torch.where(hidden, ink, x[:, None]))[..., k]
        before: Tensor = model(x)[:, k, None]
    return (before - left).view(-1, 7, 7)


@exercise(stage=10)
def occlusion(
    answer: Any,  # A function: `answer(model, x, k)` maps x [n, 784] to [n, 7, 7]
) -> None:
    "Measure how much a logit falls when each square of 4 x 4 pixels is covered."
    squares = torch.arange(28)[:, None] // 4 * 7 + torch.arange(28) // 4
    covered = squares.view(-1) == torch.arange(49)[:, None]
    for n, k, dtype in ((1, 0, torch.float32), (3, 7, torch.float32), (2, 9, torch.float64)):
        case = f"for {n} image{'s'[: n - 1]}, class {k}, {str(dtype).removeprefix('torch.')}"
        model = mlp(784, 30, 10, generator=seeded(n)).to(dtype)
        x = torch.rand(n, 784, generator=seeded(k), dtype=dtype)
        expected = falls(model, x, k, covered)
        ink = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(model(ink)[:, k].sum(), ink)
        certain = nn.Sequential(model, nn.Softmax(-1))
        slips = {
            "this is how much the probability falls, not the logit": falls(certain, x, k, covered),
            "this is the sum of the gradient over the square; nothing is covered": (
                sum_by_square(grad, covered)
            ),
            "this is the sum of gradient times input over the square; nothing is covered": (
                sum_by_square(grad * x, covered)
            ),
            "the sign is the other way round: a fall is positive": -expected,
            "rows and columns are exchanged": expected.mT,
            "what was covered before is still covered": falls(model, x, k, covered.cumsum(0) > 0),
            "the square is white; 0 is black": falls(model, x, k, covered, 1.0),
            "all but the square is covered": falls(model, x, k, ~covered),
        }
        got = call(answer, model, x, k, case=case)
        try:
            same(got, expected, case)
        except Wrong as wrong:
            raise named(wrong, got, slips) from None


def is_changed(model: nn.Module, state: dict[str, Tensor]) -> bool:
    found = model.state_dict()
    return found.keys() != state.keys() or any(not torch.equal(found[n], state[n]) for n in state)


@exercise(stage=10)
def twin(
    answer: Any,  # A function: `answer(model)` gives a net like `mlp(n_in, n_hidden, n_out)`
) -> None:
    "Make a net with other weights in every place and the same logits."
    for sizes in ((5, 4, 3), (3, 1, 2), (784, 30, 10)):
        case = f"for mlp{sizes}"
        model = mlp(*sizes, generator=seeded(sum(sizes)))
        given, state = copy.deepcopy(model), model.state_dict()
        with failures(case, answer):
            other = answer(given)
        if is_changed(given, state):
            raise Wrong(f"{case}: the model that is given changes; work on a copy")
        if not isinstance(other, nn.Module):
            raise Wrong(f"{case}: the result is {nothing_or_type(other)}; expected a net")
        found = other.state_dict()
        shapes, needed = ({n: list(t.shape) for n, t in d.items()} for d in (found, state))
        if shapes != needed:
            raise Wrong(f"{case}: the parameters are {shapes}; expected {needed}")
        for name in ("0.weight", "0.bias", "2.weight"):
            equal = (found[name] == state[name]).nonzero().tolist()
            if equal:
                value = float(state[name][tuple(equal[0])])
                raise Wrong(f"{case}: {name}{equal[0]} is {value:.4g}, as in the model")
            if ((found[name] - state[name]).abs() < 0.1 * state[name].abs()).double().mean() > 0.5:
                raise Wrong(f"{case}: most of {name} is within a tenth of the model's")
        x = 3 * torch.randn(50, sizes[0], generator=seeded(1), dtype=torch.float64)
        with torch.no_grad():
            w, b, v, c = (t.double() for t in found.values())
            logits = ((x @ w.T + b).clamp(min=0) @ v.T + c).float()
            same(logits, model(x.float()), case, "a logit from its weights", 1e-4)
            with failures(case, other):
                out = other(x.float())
        same(out, logits, case, "a logit", 1e-4)


@exercise(stage=10)
def convince(
    answer: Any,  # A function: `answer(model, k)` gives an image [784] in [0, 1]
) -> None:
    "Find an image that a given net is certain to be a given class."
    for i, sizes in enumerate(((784, 30, 10), (784, 40, 20, 10))):
        model = mlp(*sizes, generator=seeded(i))
        with torch.no_grad():
            for p in model.parameters():
                p.mul_(4)
        for k in range(10):
            case = f"for net {i + 1}, mlp{sizes}, and class {k}"
            given = copy.deepcopy(model)
            with failures(case, answer):
                image = answer(given, k)
            if is_changed(given, model.state_dict()):
                raise Wrong(f"{case}: it changes the net; the image is to do it")
            if type(image) is not Tensor or image.shape != (784,) or image.dtype != torch.float32:
                raise Wrong(
                    f"{case}: the image is {nothing_or_type(image)}; expected a tensor float32 [784]"
                )
            outside = (~((image >= 0) & (image <= 1))).nonzero()
            if len(outside):
                at = int(outside[0])
                raise Wrong(f"{case}: pixel {at} is {float(image[at]):.4g}; expected 0 to 1")
            with torch.no_grad():
                p = model(image[None].detach()).softmax(1)[0]
            if p[k] <= 0.99:
                taken = f"; the net takes it for class {int(p.argmax())}" if p.argmax() != k else ""
                raise Wrong(
                    f"{case}: its probability is {float(p[k]):.3g}; expected above 0.99{taken}"
                )
