"Checks of the exercises of stage 8, play."

import copy
import functools
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from mnist_walkthrough.check.core import (
    Wrong,
    call,
    exercise,
    failures,
    nothing_or_type,
    same,
    same_number,
)
from mnist_walkthrough.check.learner import Notes, modes, modes_are_back
from mnist_walkthrough.check.loss import slips
from mnist_walkthrough.data import digits
from mnist_walkthrough.learner import load_split, train_with


def random_ink(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    ink = torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)))
    return (ink**3).to(dtype)


@exercise(stage=8)
def lost_ink(
    answer: Any,  # A picture, float [height, width] with values in [0, 1]
) -> None:
    "Find a picture of which `prepare` loses a tenth of the ink or more."
    from mnist_walkthrough.play import crop, fit, prepare  # wants the widgets' packages

    if type(answer) is not Tensor:
        raise Wrong(f"it is {nothing_or_type(answer)}; expected a tensor [height, width]")
    if answer.dim() != 2 or not answer.is_floating_point():
        raise Wrong(f"it is {nothing_or_type(answer)}; expected floats [height, width]")
    ink = answer.detach().clone()
    if not ((ink >= 0) & (ink <= 1)).all():
        raise Wrong(
            f"its values go from {ink.min():g} to {ink.max():g}; a picture has ink from 0 to 1"
        )
    with failures("for your picture", prepare):
        fitted, prepared = fit(crop(ink)), prepare(ink)
    lost = 1 - float(prepared.double().sum() / fitted.double().sum())
    if not lost >= 0.1:
        height, width = fitted.shape
        row, column = middle_of_mass(fitted)
        raise Wrong(
            f"{100 * lost:.1f} % of its ink is lost; expected 10 % or more. Fitted it is"
            f" {height} x {width} pixels with the centre of mass at row {row:.1f}, column"
            f" {column:.1f}; that point goes to 14, so only what lies 14 or more beyond it is lost"
        )


@exercise(stage=8)
def centre_of_mass(
    answer: Any,  # A function: `answer(ink)` maps [height, width] to (row, column)
) -> None:
    "Compute the point of a picture that MNIST's makers put at the centre."
    cases = (
        ("for one dot at row 3, column 5 of 5 x 8 pixels", dots((3, 5, 0.5))),
        ("for one dot at row 0, column 0", dots((0, 0, 1.0))),
        ("for a picture of 5 x 5 equal pixels", torch.full((5, 5), 0.25)),
        (
            "for dots of 0.75 at [1, 2], 0.5 at [1, 3] and 0.25 at [3, 6]",
            dots((1, 2, 0.75), (1, 3, 0.5), (3, 6, 0.25)),
        ),
        ("for a picture of one row and 7 columns", random_ink(1, 7)),
        ("for a random picture of 28 x 20 pixels", random_ink(28, 20)),
        ("for a random picture in float64", random_ink(6, 11, dtype=torch.float64)),
        ("for a random picture of 400 x 300 pixels", random_ink(400, 300)),
    )
    for case, ink in cases:
        out = call(answer, ink, case=case)
        if type(out) not in (tuple, list) or len(out) != 2:
            raise Wrong(f"{case}: the result is {nothing_or_type(out)}; expected (row, column)")
        expected = list(middle_of_mass(ink))
        drawn = (ink > 0).nonzero().double().mean(0).tolist()
        try:
            for what, got, right in zip(("the row", "the column"), out, expected, strict=True):
                same_number(got, right, case, what, 1e-5)
        except Wrong as wrong:
            known = {
                "the column comes first; rows come first in a tensor": expected[::-1],
                "pixels are counted from 0": [e + 1 for e in expected],
                "a pixel is counted by its number, not by its middle": [e + 0.5 for e in expected],
                "this is the middle of the picture, whatever is drawn": [
                    (n - 1) / 2 for n in ink.shape
                ],
                "this is the mean of all pixels with any ink; more ink weighs more": drawn,
                "this is the pixel with the most ink": divmod(int(ink.argmax()), ink.shape[1]),
                "this is the middle of the box around the ink": middle_of_box(ink),
            }
            named = [why for why, slip in known.items() if close(out, slip)]
            raise Wrong(": ".join([str(wrong), *named[:1]])) from None
    case = "for a picture without ink"
    try:
        out = answer(torch.zeros(4, 5))
    except ValueError:
        return
    except Exception as error:
        raise Wrong(f"{case}: it raises {type(error).__name__}; expected a ValueError") from None
    raise Wrong(f"{case}: there is no such point, and no ValueError says so")


def dots(*marks: tuple[int, int, float]) -> Tensor:
    ink = torch.zeros(5, 8)
    for row, column, mass in marks:
        ink[row, column] = mass
    return ink


def middle_of_box(ink: Tensor) -> list[float]:
    at = (ink > 0).nonzero().double()
    return ((at.min(0).values + at.max(0).values) / 2).tolist()


def close(got: Any, slip: Any) -> bool:
    try:
        return all(abs(float(a) - float(b)) < 1e-4 for a, b in zip(got, slip, strict=True))
    except (TypeError, ValueError, RuntimeError):
        return False


def moved(x: Tensor, down: int, right: int) -> Tensor:
    "Each pixel by itself."
    out, (height, width) = torch.zeros_like(x), x.shape[-2:]
    for i in range(max(0, down), min(height, height + down)):
        for j in range(max(0, right), min(width, width + right)):
            out[..., i, j] = x[..., i - down, j - right]
    return out


@exercise(stage=8)
def shift(
    answer: Any,  # A function: `answer(x, down, right)` for x [..., height, width]
) -> None:
    "Move pictures by whole pixels; what leaves them is lost."
    for shape, down, right, dtype in (
        ((2, 5, 6), 1, 0, torch.float32),
        ((2, 5, 6), 0, 2, torch.float32),
        ((4, 5), -2, 0, torch.float32),
        ((4, 5), 1, -3, torch.float64),
        ((3, 28, 28), -1, -4, torch.uint8),
        ((2, 3, 4, 4), 0, 0, torch.float32),
        ((2, 4, 7), 4, 0, torch.float32),
        ((2, 4, 7), -1, 9, torch.float32),
        ((0, 3, 3), 1, 1, torch.float32),
    ):
        case = f"for {list(shape)} {str(dtype)[6:]}, {down} down and {right} to the right"
        x = torch.arange(1, 1 + math.prod(shape)).reshape(shape).to(dtype)
        out = call(answer, x, down, right, case=case)
        try:
            same(out, moved(x, down, right), case)
        except Wrong as wrong:
            known = {
                "what leaves on one side comes in on the other; let zeros come in": torch.roll(
                    x, (down, right), (-2, -1)
                ),
                "it goes the other way; row 0 is the top": moved(x, -down, -right),
                "down and right are exchanged": moved(x, right, down),
                "it stays where it was": x,
                "the edge is repeated; let zeros come in": repeated(x, down, right),
            }
            named = [why for why, slip in known.items() if is_same(out, slip)]
            raise Wrong(": ".join([str(wrong), *named[:1]])) from None


def repeated(x: Tensor, down: int, right: int) -> Tensor:
    height, width = x.shape[-2:]
    rows = (torch.arange(height) - down).clamp(0, height - 1)
    return x[..., rows, :][..., (torch.arange(width) - right).clamp(0, width - 1)]


def is_same(got: Any, slip: Tensor) -> bool:
    return type(got) is Tensor and got.shape == slip.shape and torch.equal(got, slip)


@functools.cache
def walks_net() -> tuple[TensorDataset, nn.Module]:  # The test digits, and the net
    "The net of the page, to rounding: the same start and the same batches."
    train, valid = (load_split(digits() / name, own=False) for name in ("training", "testing"))
    with torch.random.fork_rng(devices=[]):
        return valid, train_with(set(), train, valid, seed=37).model.eval()


@exercise(stage=8)
def one_pixel(
    answer: Any,  # Three whole numbers: (digit, down, right)
) -> None:
    "Find a test digit of which the net is sure, and a shift by one pixel that changes its answer."
    if type(answer) not in (tuple, list) or len(answer) != 3:
        raise Wrong(f"it is {nothing_or_type(answer)}; expected (digit, down, right)")
    if any(type(number) is not int for number in answer):
        raise Wrong(f"{answer} are not three whole numbers; `int` makes one of a tensor")
    digit, down, right = answer
    valid, net = walks_net()
    x, y = valid.tensors
    if not 0 <= digit < len(x):
        raise Wrong(f"there is no test digit {digit}; they have the numbers 0 to {len(x) - 1}")
    if abs(down) + abs(right) != 1:
        raise Wrong(
            f"{down} down and {right} to the right is not one pixel up, down, left or right"
        )
    image, true = x[digit].view(28, 28), int(y[digit])
    with torch.no_grad():
        before, after = (
            net(each.reshape(1, -1)).softmax(1)[0] for each in (image, moved(image, down, right))
        )
    said = f"digit {digit}, a {true},"
    if int(before.argmax()) != true:
        raise Wrong(f"{said} is not read right in the first place, but as {int(before.argmax())}")
    if before[true] < 0.8:
        raise Wrong(
            f"{said} is read right, but with the probability {before[true]:.2f}; find one with"
            " four fifths or more"
        )
    if int(after.argmax()) == true:
        raise Wrong(
            f"{said} is still read right after the shift, with the probability {after[true]:.2f}"
        )


def middle_of_mass(ink: Tensor) -> tuple[float, float]:
    mass = ink.double()
    row, column = (
        float(mass.sum(1 - axis) @ torch.arange(ink.shape[axis]).double() / mass.sum())
        for axis in (0, 1)
    )
    return row, column


class Dropped(nn.Module):
    "A small net for pictures of 28 x 28 with dropout, that notes how it is called."

    def __init__(self, seed: int, scale: float):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(scale * torch.randn(784, 16, generator=generator))
        self.last = nn.Parameter(torch.randn(16, 10, generator=generator) / 4)
        self.dropout, self.notes = nn.Dropout(0.5), Notes()

    def forward(self, x: Tensor) -> Tensor:
        self.notes.gradients |= torch.is_grad_enabled()
        self.notes.training |= {key for key, training in modes(self).items() if training}
        return (self.dropout(x) @ self.first).relu() @ self.last  # type: ignore[no-any-return]


SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


@exercise(stage=8)
def average_over_shifts(
    answer: Any,  # A function: `answer(model, x)` maps x [n, 784] to probabilities [n, 10]
) -> None:
    "Average a net's probabilities over nine shifted copies of each image."
    for n, training, scale in ((3, False, 0.2), (1, True, 1.0), (5, True, 0.05)):
        images = "one image" if n == 1 else f"{n} images"
        case = f"for {images} and a net in {'training' if training else 'eval'} mode"
        x = random_ink(n, 28, 28)
        model = Dropped(n, scale).train(training)
        before, still = modes(model), copy.deepcopy(model).eval()
        copies = torch.stack([moved(x, *by).view(n, 784) for by in SHIFTS])
        wrapped = torch.stack([torch.roll(x, by, (-2, -1)).view(n, 784) for by in SHIFTS])
        with torch.no_grad():
            logits, rolled, of_mean = still(copies), still(wrapped), still(copies.mean(0))
        with torch.random.fork_rng(devices=[]), failures(case, answer):
            out = answer(model, x.view(n, 784).clone())
        if model.notes.training:
            raise Wrong(f"{case}: the net is in training mode while it answers")
        if model.notes.gradients:
            raise Wrong(f"{case}: the net answers with gradients on; nobody needs them here")
        p = logits.softmax(2)
        cross = [k for k, (down, right) in enumerate(SHIFTS) if down == 0 or right == 0]
        known = {
            "this is the softmax of the mean logits; average the probabilities": (
                logits.mean(0).softmax(1)
            ),
            "this is the answer to the mean image; average the probabilities": of_mean.softmax(1),
            "these are the mean logits": logits.mean(0),
            "this is the sum; divide it by 9": p.sum(0),
            "the copies wrap around; what leaves on one side must not come in on the other": (
                rolled.softmax(2).mean(0)
            ),
            "the unmoved image is one of the nine": p[[k for k in range(9) if k != 4]].mean(0),
            "the diagonal shifts are missing": p[cross].mean(0),
            "this is the answer to the unmoved image alone": p[4],
        }
        with slips(out, p.mean(0), known):
            same(out, p.mean(0), case, "the probability")
        modes_are_back(model, before, case)
