"Checks of the exercises of stage 7, learner."

import copy
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest import mock
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler
from torch.utils.data import TensorDataset

from mnist_walkthrough.check.core import (
    Wrong,
    call,
    exercise,
    failures,
    nothing_or_type,
    number,
    same,
    same_number,
)
from mnist_walkthrough.check.loss import slips
from mnist_walkthrough.data import digits
from mnist_walkthrough.learner import Learner, load_split
from mnist_walkthrough.loader import DataLoader
from mnist_walkthrough.net import Sequential, mlp
from mnist_walkthrough.optimizer import SGD

Batch = tuple[Tensor, Tensor]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@functools.cache
def training_digits() -> TensorDataset:
    return load_split(digits() / "training", own=False)


def small_batches(
    *sizes: int, dtype: torch.dtype = torch.float32
) -> list[Batch]:  # x [size, 6], y of 3 classes
    random = seeded(sum(sizes))
    return [
        (
            torch.randn(n, 6, generator=random, dtype=torch.float64).to(dtype),
            torch.randint(3, (n,), generator=random),
        )
        for n in sizes
    ]


def modes(model: nn.Module) -> dict[str, bool]:
    return {key or "the net": module.training for key, module in model.named_modules()}


def mode(training: bool) -> str:
    return "training mode" if training else "eval mode"


@exercise(stage=7)
def three_rates(
    answer: Any,  # Three learning rates: (above, equal, below)
) -> None:
    "Find rates with which the first training loss stands above, on and below the validation loss."
    if type(answer) not in (tuple, list):
        raise Wrong(f"it is {nothing_or_type(answer)}; expected three rates, each a number")
    if len(answer) != 3:
        raise Wrong(f"the number of rates is {len(answer)}; expected three")
    for i, rate in enumerate(answer):
        if type(rate) not in (int, float):
            raise Wrong(f"rate {i} is {rate!r}; expected a number")
    train = training_digits()
    for place, rate in zip(("above", "equal", "below"), answer, strict=True):
        net = mlp(784, 30, 10, generator=seeded(0))
        train_dl = DataLoader(train, 256, shuffle=True, generator=seeded(0))
        case = f"with the rate {rate}"
        with failures(case, SGD):
            optimizer = SGD(net.parameters(), lr=rate)
        learner = Learner(train_dl, DataLoader(train, 256), net, optimizer, F.cross_entropy)
        learner.fit(1, progress=False)
        before, after = learner.history[0]["train_loss"], learner.history[0]["valid_loss"]
        said = f"{case} the training loss is {before:.6f} and the validation loss {after:.6f}"
        if not math.isfinite(before) or not math.isfinite(after):
            raise Wrong(f"{said}: a rate this large ends in numbers that are not finite")
        if place == "above" and before < after + 0.01:
            raise Wrong(f"{said}; the training loss is to stand above by a hundredth or more")
        if place == "equal" and abs(before - after) > 1e-5:
            raise Wrong(
                f"{said}; they are to be equal. They are measured at different times: with which"
                " rate does it not matter when"
            )
        if place == "below" and before > after - 0.01:
            raise Wrong(f"{said}; the training loss is to stand below by a hundredth or more")


class Graph:
    "Stands for that of a batch: it is gone as soon as nothing can call `backward` any more."


class Notes:
    "How a net was called; the net's copies write into the same."

    def __init__(self) -> None:
        self.training: set[str] = set()
        self.gradients, self.most_rows, self.most_open = False, 0, 0
        self.open = WeakSet[Graph]()

    def __deepcopy__(self, memo: object) -> "Notes":
        return self


class Watched(nn.Module):
    "A net with batch norm and dropout that notes how it is called."

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.first = mlp(6, 5, generator=seeded(1))
        self.norm = nn.BatchNorm1d(5)
        self.dropout = nn.Dropout(0.5)
        self.last = mlp(5, 3, generator=seeded(2))
        self.norm.running_mean.copy_(torch.randn(5, generator=seeded(3)))  # type: ignore[union-attr]
        self.to(dtype)
        self.notes = Notes()

    def forward(self, x: Tensor) -> Tensor:
        self.notes.training |= {key for key, training in modes(self).items() if training}
        self.notes.gradients |= torch.is_grad_enabled()
        self.notes.most_rows = max(self.notes.most_rows, len(x))
        return self.last(self.dropout(self.norm(self.first(x))))  # type: ignore[no-any-return]


def watched(training: bool, frozen: bool, dtype: torch.dtype) -> Watched:
    model = Watched(dtype).train(training)
    if frozen:
        model.norm.eval()
    return model


def modes_are_back(model: nn.Module, before: dict[str, bool], case: str) -> None:
    for key, training in modes(model).items():
        if training != before[key]:
            raise Wrong(
                f"{case}: afterwards {key} is in {mode(training)}, and was in"
                f" {mode(before[key])}; put each layer back into the mode that it was in"
            )


@exercise(stage=7)
def predict_all(
    answer: Any,  # A function: `answer(model, dl)` gives (logits [n, n_classes], target [n])
) -> None:
    "Give the logits and targets of a whole loader, and leave the net as it was."
    for sizes, training, frozen, dtype in (
        ((4, 4), False, False, torch.float32),
        ((4, 4, 2), True, False, torch.float32),
        ((3, 1), True, True, torch.float32),
        ((1,), False, False, torch.float64),
    ):
        layer = ", its batch norm in eval mode" if frozen else ""
        case = f"for batches of {listed(sizes)} and a net in {mode(training)}{layer}"
        model, dl = watched(training, frozen, dtype), small_batches(*sizes, dtype=dtype)
        with torch.no_grad():
            expected = watched(False, False, dtype)(torch.cat([xb for xb, _ in dl]))
        target = torch.cat([yb for _, yb in dl])
        before, state = modes(model), copy.deepcopy(model.state_dict())
        with torch.random.fork_rng(devices=[]), failures(case, answer):
            out = answer(model, dl)
        if not isinstance(out, tuple | list) or len(out) != 2:
            raise Wrong(f"{case}: the result is {nothing_or_type(out)}; expected (logits, target)")
        if model.notes.training:
            seen = min(model.notes.training)
            raise Wrong(
                f"{case}: while it answers, {seen} is in training mode: dropout leaves units out,"
                " batch norm takes the batch's own mean"
            )
        if model.notes.gradients:
            raise Wrong(
                f"{case}: the net answers with gradients on, and keeps notes for `backward`"
            )
        parts = [*expected.split(sizes)]
        known = {
            "these are probabilities; give the logits": expected.softmax(1),
            "these are logarithms of probabilities; give the logits": expected.log_softmax(1),
            "the batches stand in reverse order": torch.cat(parts[::-1]),
            "these are the last batch's alone": parts[-1],
        }
        with slips(out[0], expected, known):
            same(out[0], expected, case, "the tensor of logits")
        same(out[1], target, case, "the tensor of targets")
        if model.notes.most_rows > max(sizes):
            raise Wrong(
                f"{case}: the net is given {model.notes.most_rows} rows at once; a loader is there so"
                f" that it never has to hold more than {max(sizes)}"
            )
        modes_are_back(model, before, case)
        for key, value in model.state_dict().items():
            same(value, state[key], case, f"{key} of the net, afterwards,")
    case = "for a loader whose second batch is a column too wide"
    model = watched(True, True, torch.float32)
    before, dl = modes(model), small_batches(4) + [(torch.zeros(4, 7), torch.zeros(4).long())]
    with torch.random.fork_rng(devices=[]):
        try:
            answer(model, dl)
        except Exception:
            modes_are_back(model, before, f"{case}, where the net raises")
        else:
            raise Wrong(f"{case}: the error of the net does not come out")


def listed(sizes: Sequence[int]) -> str:
    return ", ".join(map(str, sizes[:-1])) + f" and {sizes[-1]}" if sizes[1:] else str(sizes[0])


class Counted(SGD):
    "Counts its steps."

    n_steps = 0

    def step(self) -> None:
        self.n_steps += 1
        super().step()


class OneAtATime(Sequential):
    "Notes how many batches at a time are held for a `backward` to come."

    def __init__(self, net: nn.Module):
        super().__init__(net)
        self.notes = Notes()

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        notes = self.notes
        notes.most_rows = max(notes.most_rows, len(x))
        if out.requires_grad:
            graph = Graph()
            notes.open.add(graph)
            out.register_hook(lambda _grad: notes.open.discard(graph))
        notes.most_open = max(notes.most_open, len(notes.open))
        return out


def gradients(model: nn.Module, xb: Tensor, yb: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(F.cross_entropy(model(xb), yb), list(model.parameters())))


@exercise(stage=7)
def large_step(
    answer: Any,  # A function: `answer(model, optimizer, loss_fn, batches)` gives the mean loss
) -> None:
    "Make one step for several small batches, equal to that for one large batch."
    for sizes, dtype in (
        ((4, 4, 4), torch.float64),
        ((4, 4, 2), torch.float64),
        ((1,), torch.float32),
        ((1, 7, 2, 5), torch.float32),
    ):
        case = f"for batches of {listed(sizes)}"
        net = mlp(6, 5, 3, generator=seeded(0)).to(dtype)
        batches = small_batches(*sizes, dtype=dtype)
        x, y = (torch.cat(t) for t in zip(*batches, strict=True))
        whole, parts = gradients(net, x, y), [gradients(net, *batch) for batch in batches]
        loss = F.cross_entropy(net(x), y).item()
        means = [F.cross_entropy(net(xb), yb).item() for xb, yb in batches]
        model = OneAtATime(copy.deepcopy(net))
        optimizer = Counted(model.parameters(), lr=0.5)
        old = gradients(model, *batches[0])
        for p, g in zip(model.parameters(), old, strict=True):
            p.grad = g.clone()
        given = copy.deepcopy(batches)
        with failures(case, answer):
            out = answer(model, optimizer, F.cross_entropy, given)
        if optimizer.n_steps != 1:
            raise Wrong(f"{case}: the optimizer makes {optimizer.n_steps} steps; expected one")
        if model.notes.most_rows > max(sizes):
            raise Wrong(
                f"{case}: the net is given {model.notes.most_rows} rows at once; {max(sizes)} is what"
                " fits into memory"
            )
        if model.notes.most_open > 1:
            raise Wrong(
                f"{case}: {model.notes.most_open} batches wait for `backward` at the same time, so all of"
                " them are held in memory; call `backward` for each before the next"
            )
        n, k = sum(sizes), len(sizes)
        sums = [sum(g) for g in zip(*parts, strict=True)]
        by_count = [
            sum(b * g for b, g in zip(sizes, gs, strict=True)) for gs in zip(*parts, strict=True)
        ]
        bent = {
            f"the gradients of {k} means are added up, so the step is {k} times as long": sums,
            "this is the mean of the batches' gradients, each of which counts the same whatever"
            " its size": [g / k for g in sums],
            "what was in `.grad` before is added to it": [
                a + b for a, b in zip(whole, old, strict=True)
            ],
            "this is the last batch's gradient alone": parts[-1],
            f"the gradient is the sum over rows, {n} times as long as that of the mean": by_count,
        }
        expected = moved(net, whole)
        for (key, p), e in zip(net.named_parameters(), expected, strict=True):
            got = model.get_parameter(f"0.{key}")
            try:
                same(
                    got, e, case, f"after the step {key}", 1e-5 if dtype is torch.float32 else None
                )
            except Wrong as wrong:
                named = [why for why, slip in bent.items() if equal(model, moved(net, slip))]
                raise Wrong(": ".join([str(wrong), *named[:1]])) from None
        with torch.no_grad():
            after = F.cross_entropy(model(x), y)
        known = {
            "this is the mean of the batch means, each weighs the same": sum(means) / k,
            "this is the sum of the batch means": sum(means),
            "this is the last batch's loss": means[-1],
            "this is the loss after the step": after,
            "this is the sum over all rows": n * loss,
        }
        with slips(out, loss, known):
            same_number(out, loss, case, "the mean loss", 1e-5)


def is_number(value: Any) -> bool:
    if type(value) is Tensor:
        return value.numel() == 1
    return isinstance(value, int | float) and type(value) is not bool


def moved(net: nn.Module, grads: Sequence[Any]) -> list[Tensor]:
    return [p.detach() - 0.5 * g for p, g in zip(net.parameters(), grads, strict=True)]


def equal(model: nn.Module, expected: Sequence[Tensor]) -> bool:
    pairs = zip(model.parameters(), expected, strict=True)
    return all(torch.allclose(p, e, rtol=0, atol=1e-5) for p, e in pairs)


class Scripted(nn.Module):
    "After epoch k its one weight, and its buffer, are k."

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.seen += 1
        return self.weight.expand(len(x), 1) * 1


class AddOne:
    "Moves each weight by one, and notes the rate of each step."

    def __init__(self, model: nn.Module, lr: float = 0.1):
        self.params, self.lr, self.rates = list(model.parameters()), lr, list[Any]()

    @torch.no_grad()
    def step(self) -> None:
        self.rates.append(self.lr)
        for p in self.params:
            p.add_(1)

    def zero_grad(self) -> None:
        for p in self.params:
            p.grad = None


def scripted_learner(
    model: Scripted,
    losses: Sequence[float],  # The validation loss of each epoch
    callback: Any,  # With all hooks; on its page `Callback` is a class of the page's
) -> Learner:
    def loss_fn(logits: Tensor, _target: Tensor) -> Tensor:
        return [10.0, *losses][round(logits[0, 0].item())] + 0 * logits.sum()

    batch = (torch.zeros(2, 1), torch.zeros(2).long())
    return Learner([batch], [batch], model, AddOne(model), loss_fn, callbacks=[callback])


def made(answer: Any, *args: Any, case: str) -> Any:
    callback = call(answer, *args, case=case)
    hooks = ("before_fit", "before_step", "after_epoch", "after_fit")
    if not all(callable(getattr(callback, hook, None)) for hook in hooks):
        raise Wrong(f"{case}: {nothing_or_type(callback)} has not all hooks; inherit `Callback`")
    return callback


nan = math.nan
SCRIPTS = (  # validation losses, patience, epochs made, number of the best
    ([3.0, 2.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2, 5, 3),
    ([2.0, 1.0, 3.0, 0.5], 1, 3, 2),
    ([5.0, 4.0, 3.0, 2.0], 3, 4, 4),
    ([3.0, 1.0, 2.0, 2.5], 5, 4, 2),
    ([3.0, 2.5, 2.6, 2.4, 2.5, 2.3, 2.5, 2.4, 2.4], 2, 8, 6),
    ([1.0, 1.0, 1.0, 1.0], 2, 3, 1),
    ([2.0, nan, 1.0, nan, nan, nan], 2, 5, 3),
    ([nan, 2.0, 1.0, 3.0, 3.0, 3.0], 2, 5, 3),
)


ALIASES = "`state_dict()` gives the tensors themselves, which are trained on; keep copies of them"


def loads_of(model: nn.Module) -> list[bool]:  # One for each time that weights are loaded
    loads = list[bool]()
    model.register_load_state_dict_post_hook(lambda *_: loads.append(True))
    return loads


@exercise(stage=7)
def stop_at_best(
    answer: Any,  # A class of callbacks: `answer(patience)`
) -> None:
    "Stop when the validation loss no longer improves, and put back the weights of the best epoch."
    lags = "the training loss, which lags behind, has its smallest one later"
    for losses, patience, n_epochs, best in SCRIPTS:
        case = f"for validation losses {losses} and a patience of {patience}"
        callback = made(answer, patience, case=case)
        model = Scripted()
        learner, weight = scripted_learner(model, losses, callback), model.weight
        loads = loads_of(model)
        with failures(case, callback):
            learner.fit(len(losses), progress=False)
        if len(learner.history) != n_epochs:
            raise Wrong(
                f"{case}: the training ends after epoch {len(learner.history)}; expected after"
                f" {n_epochs}, and the best is number {best}"
                + (f"; {lags}" if weight.item() == best + 1 else "")
            )
        if learner.model is not model or model.weight is not weight:
            raise Wrong(
                f"{case}: the learner has another model or parameter now, which the optimizer does"
                " not know; put the numbers back into the old one"
            )
        if weight.item() != best:
            why = ""
            if weight.item() == n_epochs and loads:
                why = f": {ALIASES}"
            elif weight.item() == n_epochs:
                why = ", the best; nothing is put back"
            elif best < n_epochs and weight.item() == best + 1:
                why = f": {lags}"
            raise Wrong(
                f"{case}: after `fit` the weights are those of epoch {weight.item():.0f}; expected"
                f" those of {best}{why}"
            )
        if model.seen.item() != best:
            raise Wrong(
                f"{case}: after `fit` the weights are those of epoch {best}, but the buffers those"
                f" of {model.seen.item():.0f}; a model is parameters and buffers"
            )


def cosine(lr: float, n: int) -> list[float]:
    "The rates of torch's scheduler."
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    scheduler, rates = CosineAnnealingLR(optimizer, T_max=n), []
    for _ in range(n):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()
        scheduler.step()
    return rates


@contextmanager
def no_scheduler() -> Iterator[None]:
    def refuse(scheduler: object, *args: Any, **kwargs: Any) -> None:
        raise Wrong(f"it calls torch's {type(scheduler).__name__}; compute the rate yourself")

    with mock.patch.object(LRScheduler, "__init__", refuse):
        yield


def half_waves(lr: float, n: int, length: int) -> list[float]:
    return [lr * (1 + math.cos(math.pi * k / length)) / 2 for k in range(n)]


def rates_are_right(got: list[float], lr: float, n_epochs: int, case: str) -> None:
    n = len(got)
    n_batches, expected = n // n_epochs, cosine(lr, n)
    wave = [math.cos(math.pi * k / n) for k in range(n + 1)]
    falling = [lr]
    for c in wave[1:n]:
        falling.append(falling[-1] * (1 + c) / 2)
    known = {
        "it never changes": [lr] * n,
        "it changes once an epoch, not at every step": [
            expected[k // n_batches * n_batches] for k in range(n)
        ],
        f"N is {n}, the batches of all {n_epochs} epochs, not of one": half_waves(lr, n, n_batches),
        f"N is {n}, the steps of all {n_epochs} epochs, not the epochs": half_waves(
            lr, n, n_epochs
        ),
        "`math.cos` takes radians: half a turn is pi, not 180": [
            lr * (1 + math.cos(180 * k / n)) / 2 for k in range(n)
        ],
        "it falls along a straight line, not along a cosine": [lr * (1 - k / n) for k in range(n)],
        "it begins with the rate of the second step": [lr * (1 + c) / 2 for c in wave[1:]],
        "each rate is computed from the last one, which is no longer the first": falling,
        f"the last of {n} steps has the rate 0: they are counted from 0, and number {n} is no"
        " longer made": half_waves(lr, n, max(1, n - 1)),
        "it is twice as large": [2 * rate for rate in expected],
        "the cosine falls from 1 to -1; the rate from its first value to 0": [
            lr * c for c in wave[:n]
        ],
    }
    for k, (rate, right) in enumerate(zip(got, expected, strict=True)):
        if not abs(rate - right) <= 1e-6 * lr:
            named = [
                why
                for why, slip in known.items()
                if all(abs(a - b) < 1e-6 * lr for a, b in zip(got, slip, strict=True))
            ]
            raise Wrong(
                ": ".join(
                    [
                        f"{case}: the rate of step {k} is {number(rate)}; expected {number(right)}",
                        *named[:1],
                    ]
                )
            )


@exercise(stage=7)
def cosine_rate(
    answer: Any,  # A class of callbacks: `answer()`
) -> None:
    "Let the rate fall along a cosine, step by step, as torch's `CosineAnnealingLR`."
    for n_batches, n_epochs, lr in ((4, 5, 0.1), (1, 1, 0.3), (3, 2, 2.0)):
        case = f"for {n_batches} batches, {n_epochs} epochs and the rate {lr}"
        callback = made(answer, case=case)
        dl = [(torch.zeros(2, 1), torch.zeros(2).long())] * n_batches
        learner = scripted_learner(Scripted(), [1.0] * 99, callback)
        optimizer = AddOne(learner.model, lr)
        learner.train_dl, learner.optimizer = dl, optimizer
        for of in ("", ", in a second `fit`"):
            with failures(case + of, callback), no_scheduler():
                learner.fit(n_epochs, progress=False)
            rates = numbers(optimizer.rates, case + of, "the rates")
            rates_are_right(rates, lr, n_epochs, case + of)
            same_number(optimizer.lr, lr, case + of, "after `fit` the rate", 1e-12)
            optimizer.rates.clear()
        with mock.patch.object(optimizer, "step", side_effect=[None, KeyboardInterrupt]):
            try:
                with failures(case, callback), no_scheduler():
                    learner.fit(n_epochs, progress=False)
            except KeyboardInterrupt:
                pass
        what = "after a `fit` that was interrupted the rate"
        same_number(optimizer.lr, lr, case, what, 1e-12)


def find_rates(
    learner: Learner,
    low: float,
    high: float,
    n_steps: int,
    forget: bool = True,  # Old gradients
    afterwards: bool = False,  # Take the loss of each batch after its step
    change: Callable[[nn.Module, SGD], Any] = lambda _model, _optimizer: None,  # Of the copies
) -> tuple[list[float], list[float]]:
    "What the text of the exercise promises, on copies."
    model, optimizer = copy.deepcopy((learner.model, learner.optimizer))
    batches = list(learner.train_dl)
    rates, losses = list[float](), list[float]()
    model.train()
    change(model, optimizer)
    optimizer.zero_grad()
    for k in range(n_steps):
        xb, yb = batches[k % len(batches)]
        loss = learner.loss_fn(model(xb), yb)
        rates.append(low * (high / low) ** (k / (n_steps - 1)))
        losses.append(loss.item())
        optimizer.lr = rates[-1]
        loss.backward()
        optimizer.step()
        if forget:
            optimizer.zero_grad()
        if afterwards:
            losses[-1] = learner.loss_fn(model(xb), yb).item()
        if not losses[-1] <= 4 * min(losses):
            break
    return rates, losses


def loss_to_nan(logits: Tensor, target: Tensor) -> Tensor:
    "Cross-entropy as far as the logits are small."
    return F.cross_entropy(logits, target) * (1 if float(logits.detach().abs().max()) < 5 else nan)


def squares(logits: Tensor, _target: Tensor) -> Tensor:
    "A loss that a few steps make small."
    return logits.square().mean()


def trained_learner(n_epochs: int, momentum: float, loss_fn: Any, dtype: torch.dtype) -> Learner:
    model = nn.Sequential(
        *[
            mlp(6, 5, generator=seeded(0)),
            nn.BatchNorm1d(5),
            nn.ReLU(),
            mlp(5, 3, generator=seeded(1)),
        ]
    ).to(dtype)
    dl = small_batches(8, 8, 4, dtype=dtype)
    optimizer = SGD(model.parameters(), lr=0.05, momentum=momentum)
    learner = Learner(dl, dl, model, optimizer, loss_fn)
    learner.fit(n_epochs, progress=False)
    return learner


def numbers(value: Any, case: str, what: str) -> list[float]:
    if type(value) not in (list, tuple):
        raise Wrong(f"{case}: {what} are {nothing_or_type(value)}; expected a list of numbers")
    for k, item in enumerate(value):
        if not is_number(item):
            raise Wrong(f"{case}: number {k} of {what} is {nothing_or_type(item)}")
    return [float(item) for item in value]


def first_difference(got: list[float], right: list[float], tolerance: float) -> int | None:
    for k, (a, b) in enumerate(zip(got, right, strict=False)):
        if not abs(a - b) <= tolerance * abs(b) and not (math.isnan(a) and math.isnan(b)):
            return k
    return None


@exercise(stage=7)
def lr_find(
    answer: Any,  # A function: `answer(learner, low, high, n_steps)` gives (rates, losses)
) -> None:
    "Try rising learning rates, a step each, and leave the learner as it was."
    for n_epochs, momentum, low, high, n_steps, loss_fn, dtype in (
        (0, 0.0, 1e-4, 0.1, 7, F.cross_entropy, torch.float64),
        (2, 0.9, 1e-3, 0.5, 5, F.cross_entropy, torch.float64),
        (1, 0.5, 1e-2, 1e6, 12, F.cross_entropy, torch.float64),
        (1, 0.0, 1e-1, 1e8, 10, loss_to_nan, torch.float64),
        (1, 0.5, 0.3, 100.0, 8, squares, torch.float64),
        (0, 0.0, 1e-6, 1e-2, 2, F.cross_entropy, torch.float32),
    ):
        case = f"for {n_steps} rates from {low:g} to {high:g}"
        learner = trained_learner(n_epochs, momentum, loss_fn, dtype)
        if n_epochs:
            epochs = "one epoch" if n_epochs == 1 else f"{n_epochs} epochs"
            case += f" after {epochs} with momentum {momentum}, the net in eval mode"
            learner.model.eval()
        expected = find_rates(learner, low, high, n_steps)
        untouched = copy.copy(learner)
        untouched.model, untouched.optimizer = copy.deepcopy((learner.model, learner.optimizer))
        untouched.history, untouched.callbacks = list(learner.history), list(learner.callbacks)
        model, params = learner.model, list(learner.model.parameters())
        loads = loads_of(model)
        try:
            with failures(case, answer):
                out = answer(learner, low, high, n_steps)
        except Wrong as wrong:
            if "graph leaves" not in str(wrong):
                raise
            raise Wrong(
                f"{case}: a learner that has been fitted holds the graph of its last loss, which"
                " `deepcopy` refuses; copy the model and the optimizer, both in one call"
            ) from None
        if type(out) not in (tuple, list) or len(out) != 2:
            raise Wrong(f"{case}: the result is {nothing_or_type(out)}; expected (rates, losses)")
        rates, losses = numbers(out[0], case, "the rates"), numbers(out[1], case, "the losses")
        rates_rise(rates, expected[0], n_steps, high, case)
        tolerance = 1e-3 if dtype is torch.float32 else 1e-6
        k = first_difference(losses, expected[1], tolerance)
        if k is not None:
            ways: dict[str, dict[str, Any]] = {
                "this is the loss after the step with that rate; take it before": {
                    "afterwards": True
                },
                "old gradients are not forgotten between the steps": {"forget": False},
                "the net stands still; does the optimizer hold the parameters of this very net": {
                    "change": lambda _model, optimizer: optimizer.params.clear()
                },
                "the net is not in training mode": {"change": lambda model, _: model.eval()},
                "the momentum begins at 0, as in a new optimizer; go on with what it had": {
                    "change": lambda _model, optimizer: optimizer.velocity.clear()
                },
                "the steps are made without the optimizer's momentum": {
                    "change": lambda _model, optimizer: setattr(optimizer, "momentum", 0.0)
                },
            }
            named = [
                f": {why}"
                for why, way in ways.items()
                if first_difference(
                    losses, find_rates(untouched, low, high, n_steps, **way)[1], tolerance
                )
                is None
            ]
            raise Wrong(
                f"{case}: the loss for rate {k}, {number(expected[0][k])}, is {number(losses[k])};"
                f" expected {number(expected[1][k])}" + "".join(named[:1])
            )
        for what, values in (("rates", rates), ("losses", losses)):
            if len(values) != len(expected[0]):
                because = ""
                if len(expected[0]) < n_steps:
                    last = number(expected[1][-1])
                    best = number(min(expected[1]))
                    because = (
                        f": the loss is {last} there, the smallest so far was {best}; this is"
                        " where it stops, and the last that it records"
                    )
                elif len(values) == len(list(learner.train_dl)):
                    because = ": when the loader has no more batches, begin it anew"
                raise Wrong(
                    f"{case}: there are {len(values)} {what}; expected {len(expected[0])}{because}"
                )
        if learner.model is not model or [id(p) for p in model.parameters()] != [*map(id, params)]:
            raise Wrong(f"{case}: the learner has another model now; put the old one back")
        try:
            is_untouched(learner, untouched, case)
        except Wrong as wrong:
            weight = next(model.parameters())
            moved_on = not torch.equal(weight, next(untouched.model.parameters()))
            raise Wrong(f"{wrong}: {ALIASES}" if loads and moved_on else str(wrong)) from None


def rates_rise(
    rates: list[float], expected: list[float], n_steps: int, high: float, case: str
) -> None:
    k = first_difference(rates, expected, 1e-6)
    if k is None:
        return
    low = expected[0]
    known = {
        "they rise by the same difference; let them rise by the same factor": [
            low + (high - low) * i / (n_steps - 1) for i in range(n_steps)
        ],
        f"the last of {n_steps} is not {high:g}; from the first to the last are {n_steps - 1}"
        " steps": [low * (high / low) ** (i / n_steps) for i in range(n_steps)],
        "the first step is made with the second rate": [
            low * (high / low) ** ((i + 1) / (n_steps - 1)) for i in range(n_steps)
        ],
    }
    named = [f": {why}" for why, s in known.items() if first_difference(rates, s, 1e-6) is None]
    raise Wrong(
        f"{case}: rate {k} is {number(rates[k])}; expected {number(expected[k])}"
        + "".join(named[:1])
    )


def is_untouched(learner: Any, before: Any, case: str) -> None:
    "The learner is as its copy was before."
    state = before.model.state_dict()
    for key, value in learner.model.state_dict().items():
        what = f"afterwards {key} of the net"
        if key not in dict(learner.model.named_parameters()):
            what += ", a buffer that each forward pass in training mode changes,"
        same(value, state[key], case, what, 0)
    same_number(learner.optimizer.lr, before.optimizer.lr, case, "afterwards the rate", 0)
    velocities = [
        [each.optimizer.velocity.get(p) for p in each.optimizer.params]
        for each in (learner, before)
    ]
    for now, then in zip(*velocities, strict=True):
        if now is None and then is not None and learner.optimizer.velocity:
            raise Wrong(
                f"{case}: afterwards the optimizer's velocity belongs to other tensors than its"
                " parameters; `deepcopy` copies the keys of a dictionary too"
            )
        if (now is None) != (then is None):
            words = {True: "no velocity", False: "a velocity"}
            raise Wrong(
                f"{case}: afterwards the optimizer has {words[now is None]}, before it had"
                f" {words[then is None]}; momentum belongs to its state"
            )
        if then is not None:
            same(now, then, case, "afterwards a velocity of the optimizer", 0)
    modes_are_back(learner.model, modes(before.model), case)
    for key in ("history", "callbacks"):
        if getattr(learner, key) != getattr(before, key):
            raise Wrong(f"{case}: afterwards the learner's {key} is another than before")
