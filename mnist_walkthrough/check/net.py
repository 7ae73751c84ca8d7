"Checks of the exercises of stage 3, net."

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_walkthrough.check.core import (
    Without,
    Wrong,
    call,
    exercise,
    failures,
    name,
    nothing_or_type,
    number,
    plain_number,
    same,
    seeded,
)
from mnist_walkthrough.net import mlp

SIGMAS = 6  # a right answer that draws at random strays further once in 500 million times


@contextmanager
def own_draws() -> Iterator[None]:
    "What the reader's code draws from torch's global generator begins the same each time, and leaves it as it was."
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield


def a_number(got: Any, case: str, what: str = "the result") -> float:
    "The reader's number, see `plain_number`."
    got = plain_number(got)
    if type(got) not in (int, float):
        raise Wrong(f"{case}: {what} is {nothing_or_type(got)}; expected a number")
    return float(got)


def same_or_slip(
    got: Any,  # The reader's tensor
    expected: Tensor,  # What it has to be
    slips: dict[str, Tensor],  # What it is after a slip, by what to say of it
    case: str,
    what: str = "the result",
    tolerance: float | None = None,
) -> None:
    "As `same`, and a slip that explains the reader's tensor is named."
    try:
        same(got, expected, case, what, tolerance)
    except Wrong as wrong:
        for said, slip in slips.items():
            try:
                same(got, slip, case, tolerance=tolerance)
            except Wrong:
                continue
            raise Wrong(f"{wrong}: {said}") from None
        raise


def like(
    got: Any, expected: Tensor, case: str, what: str = "the result"
) -> Tensor:  # The reader's tensor
    "Raise `Wrong` unless it is a tensor of this one's shape and dtype, whatever its values."
    zeros = torch.zeros_like(got) if type(got) is Tensor else got
    same(zeros, torch.zeros_like(expected), case, what)
    assert isinstance(got, Tensor)
    return got


def backward(out: Tensor, upstream: Tensor, function: object, case: str) -> None:
    "Backward pass through what the reader's function gave."
    if not out.requires_grad:
        raise Wrong(f"{case}: the result has no gradient; something on the way cuts it off")
    with failures(case, function):
        out.backward(upstream)


def built(
    answer: Any,  # The reader's class
    *args: Any,
    case: str,
    library: type[nn.Module] | tuple[type[nn.Module], ...],  # What it may not be, nor contain
    **kwargs: Any,
) -> nn.Module:
    "A module of the reader's class; raises `Wrong` when it is none, or one of torch's."
    layer = call(answer, *args, case=case, **kwargs)
    if not isinstance(layer, nn.Module):
        raise Wrong(
            f"{case}: {name(answer)} makes {nothing_or_type(layer)}, which is no nn.Module; "
            f"write class {name(answer)}(nn.Module)"
        )
    with failures(case, answer):
        for module in layer.modules():
            if isinstance(module, library):
                kind = type(module)
                torchs = next(c for c in kind.__mro__ if c.__module__.startswith("torch."))
                how = (
                    "contains"
                    if module is not layer
                    else "is"
                    if kind is torchs
                    else "inherits from"
                )
                raise Wrong(f"{case}: it {how} torch's {torchs.__name__}; write your own")
    return layer


def refuses(answer: Any, *args: Any, case: str) -> None:
    "Raise `Wrong` unless the reader's object raises `ValueError`."
    try:
        answer(*args)
    except ValueError:
        return
    except Exception as error:
        raise Wrong(f"{case}: it raises {type(error).__name__}; expected ValueError") from error
    raise Wrong(f"{case}: no error is raised; expected ValueError")


@exercise(stage=3)
def weight_std(
    answer: Any,  # `answer(n_in, slope)` gives the standard deviation
) -> None:
    "Find the deviation of the weights with which a layer and its leaky ReLU keep the scale of their input."
    for n_in, slope in ((100, 0.0), (784, 0.0), (100, 0.3), (50, 1.0), (1, 1.0), (200, -1.0)):
        case = f"for {n_in} inputs and slope {slope:g}"
        std = a_number(call(answer, n_in, slope, case=case), case)
        if not 0 < std < math.inf:
            raise Wrong(f"{case}: the result is {std:g}; a standard deviation is above 0")
        g = seeded(0)
        x = torch.randn(n_in, generator=g)
        z = std * torch.randn(20_000, n_in, generator=g) @ x
        a = torch.where(z > 0, z, slope * z)
        factor = float(a.square().mean().sqrt() / x.square().mean().sqrt())
        if abs(factor - 1) > 0.03:
            right = math.sqrt(2 / (n_in * (1 + slope**2)))
            slips = {
                right**2: "this is the variance, the deviation is its root",
                math.sqrt(1 / n_in): "this keeps the scale of z, before the activation",
                math.sqrt(2 / n_in): "this is right behind a ReLU, which has slope 0",
                math.sqrt(3)
                * right: "this is the bound of a uniform distribution with the right deviation",
                1 / math.sqrt(3 * n_in): "this is torch's own start",
                right * math.sqrt((1 + slope**2) / abs(1 + slope or 1)): (
                    "the mean of squares wants the square of the slope"
                ),
            }
            hint = next((s for slip, s in slips.items() if math.isclose(std, slip)), "")
            raise Wrong(
                f"{case}: with weights of deviation {std:.4g} the activations come out "
                f"{factor:.3g} times as large as the inputs; expected 1.00 times"
                + (f": {hint}" if hint else "")
            )


def two_layers(state: dict[str, Tensor], x: Tensor) -> Tensor:
    "What a net Linear, ReLU, Linear with these parameters gives, in float64."
    w = {key: value.detach().double() for key, value in state.items()}
    return F.linear(F.relu(F.linear(x, w["0.weight"], w["0.bias"])), w["2.weight"], w["2.bias"])


@exercise(stage=3)
@own_draws()
def same_function(
    answer: Any,  # `answer(net)` gives another net, which computes the same
) -> None:
    "Make a net with other weights that computes the same function."
    for sizes in ((4, 3, 2), (3, 2, 1), (784, 30, 10), (5, 64, 3)):
        case = f"for a net {sizes[0]}-{sizes[1]}-{sizes[2]}"
        net = mlp(*sizes, generator=seeded(1))
        given, mine = copy.deepcopy(net), net.state_dict()
        with failures(case, answer):
            other = answer(given)
        if not isinstance(other, nn.Module):
            raise Wrong(f"{case}: the result is {nothing_or_type(other)}; expected a net")
        for key, value in given.state_dict().items():
            if not torch.equal(value, mine[key]):
                raise Wrong(f"{case}: {key} of the given net has changed; make a new net")
        with failures(case, answer):
            yours = {key: value.clone() for key, value in other.state_dict().items()}
        if list(yours) != list(mine):
            raise Wrong(f"{case}: the parameters are {list(yours)}; expected {list(mine)}")
        for key, value in mine.items():
            like(yours[key], value, case, key)
        if (yours["0.weight"] - mine["0.weight"]).abs().max() < 0.01:
            raise Wrong(
                f"{case}: no weight of the first layer differs by 0.01 or more; "
                f"expected another net, not a copy"
            )
        x = 3 * torch.randn(200, sizes[0], generator=seeded(2), dtype=torch.float64)
        try:
            same(two_layers(yours, x), two_layers(mine, x), case, "the logit", tolerance=1e-5)
        except Wrong as wrong:
            raise Wrong(f"{wrong}{why_not_the_same(yours, mine)}") from None
        with failures(case, other):
            out = other(x.float())
        same(out, two_layers(mine, x).float(), case, "what your net gives", tolerance=1e-4)


def why_not_the_same(yours: dict[str, Tensor], mine: dict[str, Tensor]) -> str:
    "The slip that made two nets differ, when it is one that we know."
    if torch.equal(yours["2.weight"], mine["2.weight"]):
        return ": the second layer still takes the hidden units as they were"
    if torch.equal(yours["0.bias"], mine["0.bias"]):
        return ": the biases of the hidden units have stayed while their weights changed"
    cosines = F.cosine_similarity(yours["0.weight"], mine["0.weight"], dim=1)
    if (cosines < -0.9999).any():
        return ": a unit times a negative number is on when it was off, and off when it was on"
    return ""


@exercise(stage=3)
@own_draws()
def linear(
    answer: Any,  # A module class: `answer(n_in, n_out)` maps [..., n_in] to [..., n_out]
) -> None:
    "Write `Linear` yourself, as `torch.nn.Linear`."

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise Wrong("it makes a torch.nn.Linear, which is what you are to write; use nn.Parameter")

    for n_in, n_out, size in (
        (5, 3, (4,)),
        (784, 10, (1,)),
        (1, 1, (2,)),
        (7, 2, (0,)),
        (6, 4, (2, 3)),
        (6, 4, ()),
    ):
        many = "×".join(map(str, size)) or "no dimension at all"
        case = f"for a layer {n_in} -> {n_out} and a batch of {many}"
        with patch.object(nn.Linear, "__init__", refuse):
            layer = built(answer, n_in, n_out, case=case, library=nn.Linear)
        weight, bias = parameters(layer, {"weight": [n_out, n_in], "bias": [n_out]}, case)
        with torch.no_grad():
            bias.copy_(torch.randn(n_out, generator=seeded(1)) + 3)
        x = torch.randn(*size, n_in, generator=seeded(len(size)))
        with Without(F.linear, torch.addmm, instead="use @ and +"):
            out = call(layer, x, case=case)
        expected = F.linear(x, weight, bias)
        slips = {
            "the bias is not added": expected - bias,
            "the bias is subtracted": expected - 2 * bias,
        }
        same_or_slip(out, expected, slips, case)
        backward(out, torch.ones_like(out), layer, case)
        for p, what in ((weight, "weight"), (bias, "bias")):
            if p.grad is None:
                raise Wrong(f"{case}: the gradient does not reach the {what}")
        same(bias.grad, torch.full((n_out,), float(math.prod(size))), case, "the gradient of bias")
        layer.double()
        out = call(layer, x.double(), case=f"{case}, in float64")
        same(out, F.linear(x.double(), weight, bias), f"{case}, in float64")
    start_of_linear(answer)


def parameters(
    module: nn.Module, shapes: dict[str, list[int]], case: str
) -> list[nn.Parameter]:  # In the order of the shapes
    "The reader's parameters; raises `Wrong` unless these are all, by their names and shapes."
    with failures(case, module):
        found = dict(module.named_parameters())
    for key, shape in shapes.items():
        if key not in found:
            plain = isinstance(getattr(module, key, None), Tensor)
            raise Wrong(
                f"{case}: your {key} is a plain tensor, which no optimizer would find; wrap it in nn.Parameter"
                if plain
                else f"{case}: the parameters are {sorted(found)}; expected {sorted(shapes)}"
            )
        if list(found[key].shape) != shape:
            raise Wrong(
                f"{case}: your {key} has shape {list(found[key].shape)}; expected {shape}"
                + (": one row per unit" if list(found[key].shape) == shape[::-1] != shape else "")
            )
        like(found[key].detach(), torch.zeros(shape), case, f"your {key}")
    if len(found) > len(shapes):
        raise Wrong(f"{case}: the parameters are {sorted(found)}; expected {sorted(shapes)}")
    return [found[key] for key in shapes]


def start_of_linear(answer: Any) -> None:
    "Raise `Wrong` unless the parameters start as torch's do."
    case = "for a new layer 100 -> 1000"
    bound = 1 / math.sqrt(100)
    with own_draws():
        layers = [call(answer, 100, 1000, case=case) for _ in range(2)]
    for key in ("weight", "bias"):
        a, b = (getattr(layer, key).detach() for layer in layers)
        if len(a.unique()) == 1:
            raise Wrong(
                f"{case}: every number in {key} starts as {number(a.flatten()[0])}; expected "
                f"numbers drawn between -{bound:g} and {bound:g}"
            )
        std, largest = float(a.std()), float(a.abs().max())
        right = bound / math.sqrt(3)
        drift = SIGMAS * right / math.sqrt(a.numel())
        spread = SIGMAS * math.sqrt(0.2 / a.numel())  # of the deviation of uniform numbers
        if not (abs(std / right - 1) < spread and abs(a.mean()) < drift):
            raise Wrong(
                f"{case}: {key} starts with mean {float(a.mean()):.3f} and deviation {std:.3f}; expected "
                f"mean 0 and deviation {right:.3f}, which is uniform in ±1/sqrt(n_in)"
            )
        if largest > bound * 1.000001:
            raise Wrong(
                f"{case}: the largest number in {key} starts as {largest:.3f}; expected at most {bound:g}"
            )
        uniform(a, bound, f"{case}: of the numbers in {key}")
        if torch.equal(a, b):
            raise Wrong(f"{case}: {key} is the same in every layer that is made; do not fix a seed")


def uniform(
    a: Tensor,  # Drawn numbers
    bound: float,  # They should lie evenly between minus this and this
    case: str,
) -> None:
    "Raise `Wrong` if a test after Kolmogorov and Smirnov says that numbers were not drawn uniformly."
    a = a.flatten().sort().values
    share = torch.searchsorted(a, a, right=True) / len(a)
    right = (a / bound + 1) / 2
    i = int((share - right).abs().argmax())
    if abs(share[i] - right[i]) > 3.5 / math.sqrt(len(a)):  # by chance once in 10^10
        raise Wrong(
            f"{case}, {float(share[i]):.1%} start at {float(a[i]):.3g} or below; expected "
            f"{abs(float(right[i])):.1%}, as they are drawn uniformly"
        )


@exercise(stage=3)
def leaky_relu(
    answer: Any,  # `answer(x, slope)`, a tensor of any shape and a number
) -> None:
    "Write leaky ReLU, so that its gradient is right as well, at 0 too."
    g = seeded(0)
    cases = [
        (0.01, torch.randn(40, generator=g)),
        (0.3, torch.randn(3, 1, 4, generator=g, dtype=torch.float64)),
        (2.0, torch.randn(20, generator=g)),
        (0.01, torch.empty(0, 3)),
    ]
    for value in (0.0, -0.0, -1e-30, 1e-30, math.inf, -math.inf, math.nan):
        cases += [(0.2, torch.tensor(value)), (1.0, torch.tensor([value]).double())]
    for slope, x in cases:
        size = f"{x.item():g}" if x.numel() == 1 else f"random numbers {list(x.shape)}"
        leaky_relu_case(answer, x, slope, f"for slope {slope:g} and x = {size}")


def leaky_relu_case(answer: Any, x: Tensor, slope: float, case: str) -> None:
    mine, yours = (x.clone().requires_grad_() for _ in range(2))
    expected = F.leaky_relu(mine, slope)
    forbidden = F.leaky_relu, F.leaky_relu_, F.prelu, F.rrelu, F.rrelu_
    with Without(*forbidden, instead="use torch.where"):
        call(answer, x, slope, case=case)
        with failures(case, answer):
            out = answer(yours, slope)
    slips = {
        "this is a ReLU": F.relu(x),
        "this is the larger of x and slope * x, another function when the slope is above 1": (
            torch.maximum(x, slope * x)
        ),
        "0 times infinity is NaN; choose with torch.where": torch.full_like(x, math.nan),
        "the slope is rounded to float32 on the way": (
            torch.where(x > 0, x, torch.tensor(slope).to(x.dtype) * x)
        ),
        "NaN should stay NaN, so that an error is loud": torch.zeros_like(x),
    }
    same_or_slip(out, expected, slips, case)
    if x.isnan().any():
        return
    upstream = torch.rand(x.shape, generator=seeded(5)).to(x.dtype) + 0.5
    expected.backward(upstream)
    backward(out, upstream, answer, case)
    slips = {
        "torch counts 0 to the left side": upstream,
        "no branch passes anything on": torch.zeros_like(upstream),
        "each of two branches passes a half": upstream * (1 + slope) / 2,
        "both branches pass it on": upstream * (1 + slope),
    }
    arriving = f" ({number(upstream)} arrives)" if x.numel() == 1 else ""
    same_or_slip(yours.grad, some(mine.grad), slips, case, f"the gradient{arriving}")


def some(value: Tensor | None) -> Tensor:
    assert value is not None
    return value


DROPOUTS = (
    (F.dropout, torch.dropout_, torch.native_dropout, F.dropout1d, F.dropout2d, F.dropout3d)
    + (F.alpha_dropout, torch.alpha_dropout_, F.feature_alpha_dropout, torch.feature_dropout)
)  # fmt: skip


@exercise(stage=3)
@own_draws()
def dropout(
    answer: Any,  # A module class: `answer(p)` maps a tensor to one of the same shape
) -> None:
    "Write dropout with its two modes, as `torch.nn.Dropout`."
    library = nn.modules.dropout._DropoutNd
    with Without(*DROPOUTS, instead="draw a mask with torch.rand"):
        for p in (0.2, 0.5, 0.9):
            training = f"for p = {p:g} in training mode"
            layer = built(answer, p, case=training, library=library)
            dropout_training(layer, p, training)
            dropout_evaluation(layer, p, f"for p = {p:g} in evaluation mode")
        dropout_edges(answer)


def dropped(layer: nn.Module, x: Tensor, case: str) -> Tensor:
    "What the reader's dropout makes of `x`: a tensor like it."
    return like(call(layer, x, case=case), x, case)


def dropout_training(layer: nn.Module, p: float, case: str) -> None:
    x = torch.rand(300, 200, generator=seeded(0)) + 0.5
    out = dropped(layer, x, case)
    zero = out == 0
    share = float(zero.double().mean())
    for dim, neighbours in ((0, "one above the other"), (1, "side by side")):
        both = float((zero & zero.roll(1, dim)).double().mean())
        spread = math.sqrt((share**2 + 2 * share**3 - 3 * share**4) / x.numel())
        if abs(both - share**2) > SIGMAS * spread:
            raise Wrong(
                f"{case}: {share:.3f} of the numbers become 0, and of two {neighbours} both in {both:.3f} "
                f"of the cases; expected {share**2:.3f}, as each is dropped independently of the others"
            )
    spread = math.sqrt(p * (1 - p) / x.numel())
    if abs(share - p) > SIGMAS * spread:
        hint = ""
        if share == 0:
            hint = ": nothing is dropped"
        elif abs(share - (1 - p)) < SIGMAS * spread:
            hint = ": p is the probability to be dropped, not to be kept"
        raise Wrong(f"{case}: {share:.3f} of {x.numel():,} numbers become 0; expected {p:g}{hint}")
    slips = {
        "what is kept is not divided by 1 - p, so the mean falls": torch.where(zero, 0.0, x),
        "what is kept is multiplied by 1 - p, not divided": torch.where(zero, 0.0, x * (1 - p)),
        "what is kept is divided by p; its share is 1 - p": torch.where(zero, 0.0, x / p),
    }
    same_or_slip(out, torch.where(zero, 0.0, x / (1 - p)), slips, case)
    if torch.equal(zero, dropped(layer, x, case) == 0):
        raise Wrong(f"{case}: two calls drop the same numbers; draw another mask at each call")
    ten = torch.ones(10)
    counts = {int((dropped(layer, ten, case) == 0).sum()) for _ in range(100)}
    if len(counts) == 1:
        raise Wrong(
            f"{case}: of ten numbers exactly {counts.pop()} become 0 in each of 100 calls; "
            f"expected a number that varies: each is dropped independently of the others"
        )
    x.requires_grad_()
    with failures(case, layer):
        out = like(layer(x), x.detach(), case)
    upstream = torch.rand(x.shape, generator=seeded(3))
    backward(out, upstream, layer, case)
    expected = torch.where(out.detach() == 0, 0.0, upstream / (1 - p))
    same(x.grad, expected, case, "the gradient of x")
    again = []
    for _ in range(2):
        torch.default_generator.manual_seed(1)
        again.append(dropped(layer, torch.ones(1000), case))
    if not torch.equal(*again):
        raise Wrong(
            f"{case}: after the same torch.manual_seed other numbers are dropped; draw from torch's generator"
        )


def dropout_evaluation(layer: nn.Module, p: float, case: str) -> None:
    x = torch.randn(3, 4, 50, generator=seeded(0), dtype=torch.float64)
    with failures(case, layer):
        layer.eval()
    out = dropped(layer, x, case)
    if (out == 0).any():
        raise Wrong(f"{case}: numbers become 0; expected x as it is: look at self.training")
    slips = {
        "this is the older form, which scales here; torch scales in training instead": x * (1 - p),
        "the factor of training is left in": x / (1 - p),
    }
    same_or_slip(out, x, slips, case, tolerance=0)
    with failures(case, layer):
        layer.train()
    if not (dropped(layer, x, case) == 0).any():
        raise Wrong(f"{case}, then back in training mode: nothing is dropped any more")


def dropout_edges(answer: Any) -> None:
    x = torch.randn(50, 3, generator=seeded(0))
    for p, expected in ((0.0, x), (1.0, torch.zeros_like(x))):
        case = f"for p = {p:g} in training mode"
        out = call(call(answer, p, case=case), x, case=case)
        slips = {
            "division by 1 - p = 0": torch.full_like(x, math.nan),
            "nothing is dropped": x,
        }
        same_or_slip(out, expected, slips, case)
    for shape in ((0, 5), ()):
        case = f"for p = 0.5 and x of shape {list(shape)}"
        out = call(call(answer, 0.5, case=case), torch.ones(shape), case=case)
        like(out, torch.ones(shape), case)
    for p in (-0.1, 1.5, math.nan):
        refuses(answer, p, case=f"for p = {p:g}, which is no probability")


NORMS = (
    (F.batch_norm, torch.native_batch_norm, torch.batch_norm_stats, F.instance_norm)
    + (torch._batch_norm_impl_index, torch._native_batch_norm_legit)
    + (F.layer_norm, torch.native_layer_norm, F.group_norm, torch.native_group_norm)
)  # fmt: skip


@exercise(stage=3)
@own_draws()
def batch_norm(
    answer: Any,  # A module class: `answer(n_features, eps=1e-5, momentum=0.1)` maps [n, n_features] to the same shape
) -> None:
    "Write batch norm with its two modes and its running statistics, as `torch.nn.BatchNorm1d`."
    scales = torch.tensor([1.0, 5.0, 0.01])
    for x, options, rows, tolerance in (
        (torch.randn(4, 3, generator=seeded(0)) * scales + 2, {}, "4", 1e-4),
        (torch.randn(2, 1, generator=seeded(0)), {}, "2", 1e-4),
        (torch.randn(37, 5, generator=seeded(0)).double(), {"momentum": 0.3}, "37", 1e-9),
        (torch.randn(8, 2, generator=seeded(0)), {"eps": 0.5, "momentum": 1.0}, "8", 1e-4),
        (torch.full((8, 2), 3.0), {}, "8 equal rows", 1e-4),
        (1000 + torch.randn(64, 2, generator=seeded(0)), {}, "64 with mean 1000", 0.01),
    ):
        words = "".join(f", {key}={value:g}" for key, value in options.items())
        case = f"for BatchNorm({x.shape[1]}{words}) and a batch of {rows}"
        with Without(*NORMS, instead="use mean, var and arithmetic"):
            layer = built(answer, x.shape[1], case=case, library=BATCH_NORM, **options)
        statistics_start(layer, x.shape[1], case)
        layer.to(x.dtype)
        eps, momentum = options.get("eps", 1e-5), options.get("momentum", 0.1)
        for xb, which in ((x, ""), (x[:2] * 2, ", the second batch")):
            here = f"{case} in training mode{which}"
            batch_norm_training(layer, xb, eps, momentum, here, tolerance)
        for xb, which in ((x, ""), (x[:1], ", one row of it")):
            here = f"{case} in evaluation mode{which}"
            batch_norm_evaluation(layer, xb, eps, here, tolerance)
    case = "for a batch of one in training mode, which has no variance"
    refuses(call(answer, 3, case=case), torch.ones(1, 3), case=case)


BATCH_NORM = nn.modules.batchnorm._NormBase
STATISTICS = ("running_mean", "running_var")


def statistics_start(layer: nn.Module, n_features: int, case: str) -> None:
    "Raise `Wrong` unless all that batch norm learns and remembers is there and starts right; then change it."
    for key in STATISTICS:
        if key in dict(layer.named_parameters()):
            raise Wrong(
                f"{case}: your {key} is a parameter, so an optimizer would move it; use register_buffer"
            )
        if key not in layer.state_dict():
            plain = isinstance(getattr(layer, key, None), Tensor)
            raise Wrong(
                f"{case}: your {key} is a plain tensor, which state_dict() leaves out; use register_buffer"
                if plain
                else f"{case}: there is no buffer {key}"
            )
    parameters(layer, {"weight": [n_features], "bias": [n_features]}, case)
    state, g = layer.state_dict(), seeded(9)
    for key, start in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)):
        same(state[key], torch.full((n_features,), start), case, f"{key} at the start")
        state[key].copy_(torch.rand(n_features, generator=g) + 0.5)  # the layer's own memory


def standardised(
    x: Tensor, mean: Tensor, scale: Tensor, state: dict[str, Tensor]
) -> Tensor:  # What batch norm gives with this mean, and this in place of the deviation
    return (x - mean) / scale * state["weight"] + state["bias"]


def batch_norm_training(
    layer: nn.Module, x: Tensor, eps: float, momentum: float, case: str, tolerance: float
) -> None:
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    old_mean, old_var = before["running_mean"], before["running_var"]
    new_mean, new_var = old_mean.clone(), old_var.clone()
    weight, bias = (before[key].clone().requires_grad_() for key in ("weight", "bias"))
    mine, yours = (x.clone().requires_grad_() for _ in range(2))
    expected = F.batch_norm(mine, new_mean, new_var, weight, bias, True, momentum, eps)
    layer.zero_grad()
    with Without(*NORMS, instead="use mean, var and arithmetic"), failures(case, layer):
        out = layer(yours)
    mean, biased, unbiased = x.mean(0), x.var(0, correction=0), x.var(0)
    row_mean, row_var = x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)
    slips = {
        "it divides by the unbiased variance (n - 1); torch normalises with the biased one (n)": (
            standardised(x, mean, (unbiased + eps).sqrt(), before)
        ),
        "eps belongs under the root": standardised(x, mean, biased.sqrt() + eps, before),
        "eps is missing": standardised(x, mean, biased.sqrt(), before),
        "it divides by the variance, not by its root": standardised(x, mean, biased + eps, before),
        "it uses the running statistics, which are for evaluation": (
            standardised(x, old_mean, (old_var + eps).sqrt(), before)
        ),
        "it uses the running statistics, just updated; those are for evaluation": (
            standardised(x, new_mean, (new_var + eps).sqrt(), before)
        ),
        "the mean of the squares minus the square of the mean loses digits; average (x - mean)²": (
            standardised(x, mean, (x.square().mean(0) - mean.square() + eps).sqrt(), before)
        ),
        "it takes one mean over all features; each column has its own": (
            standardised(x, x.mean(), (x.var(correction=0) + eps).sqrt(), before)
        ),
        "it takes the mean of each row; each column has its own": (
            standardised(x, row_mean, (row_var + eps).sqrt(), before)
        ),
        "weight and bias are not used": (x - mean) / (biased + eps).sqrt(),
    }
    same_or_slip(out, expected, slips, case, tolerance=tolerance)
    state = layer.state_dict()
    kept = 1 - momentum
    reversed_ = "momentum is the share of the new value, not of the old one"
    replaced = "the old value is gone; keep 1 - momentum of it"
    slips = {
        "it has not moved": old_mean,
        reversed_: momentum * old_mean + kept * mean,
        replaced: mean,
    }
    what = "running_mean afterwards"
    same_or_slip(state["running_mean"], new_mean, slips, case, what, tolerance / 100)
    slips = {
        "it has not moved": old_var,
        "the biased variance (n) went in; torch keeps the unbiased one (n - 1) here": (
            kept * old_var + momentum * biased
        ),
        reversed_: momentum * old_var + kept * unbiased,
        "the deviation went in, not its square": kept * old_var + momentum * unbiased.sqrt(),
        replaced: unbiased,
    }
    what = "running_var afterwards"
    same_or_slip(state["running_var"], new_var, slips, case, what, tolerance / 10)
    for key in STATISTICS:
        if getattr(layer, key).requires_grad:
            raise Wrong(f"{case}: {key} holds on to the graph; update it under torch.no_grad()")
    upstream = torch.randn(x.shape, generator=seeded(4)).to(x.dtype)
    expected.backward(upstream)
    backward(out, upstream, layer, case)
    slips = {
        "mean and variance depend on x too, do not detach them": (
            upstream * before["weight"] / (biased + eps).sqrt()
        )
    }
    what = "the gradient of x"
    same_or_slip(yours.grad, some(mine.grad), slips, case, what, tolerance)
    for key, p in (("weight", weight), ("bias", bias)):
        same(getattr(layer, key).grad, some(p.grad), case, f"the gradient of {key}", tolerance)


def batch_norm_evaluation(
    layer: nn.Module, x: Tensor, eps: float, case: str, tolerance: float
) -> None:
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    mean, var = before["running_mean"], before["running_var"]
    with Without(*NORMS, instead="use mean, var and arithmetic"), failures(case, layer):
        out = call(layer.eval(), x, case=case)
        layer.train()
    batch = x.mean(0), (x.var(0, correction=0) + eps).sqrt()
    slips = {
        "it uses the statistics of the batch; here the running ones count": (
            standardised(x, *batch, before)
        )
    }
    expected = standardised(x, mean, (var + eps).sqrt(), before)
    same_or_slip(out, expected, slips, case, tolerance=tolerance)
    for key in STATISTICS:
        if not torch.equal(layer.state_dict()[key], before[key]):
            raise Wrong(f"{case}: {key} moves; here it is only used")
