"Checks of the exercises of stage 13, convnet."

import copy
import math
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fusion

from mnist_walkthrough.check.core import (
    Without,
    Wrong,
    call,
    exercise,
    failures,
    nothing_or_type,
    same,
    same_number,
    seeded,
    slips,
)
from mnist_walkthrough.check.gradients import by_hand


def moved(image: Tensor, dx: int, dy: int) -> Tensor:
    "An image [height, width] to the right and down, 0 from outside."
    return F.pad(image, (dx, -dx, dy, -dy))


@exercise(stage=13)
def shift_kernel(
    answer: Any,  # `answer(dx, dy)`, whole numbers from -2 to 2, gives a kernel float32 [5, 5]
) -> None:
    "Find the kernel that moves an image."
    image = torch.rand(9, 7, generator=seeded(0)) + 0.5
    for dx, dy in [(1, 2), (0, 0), (1, 0), (0, 1), (-1, 0), (2, -1), (-2, -2), (0, -2)]:
        case = f"for dx={dx} and dy={dy}"
        kernel = call(answer, dx, dy, case=case)
        if type(kernel) is not Tensor or kernel.shape != (5, 5) or kernel.dtype != torch.float32:
            raise Wrong(f"{case}: it gives {nothing_or_type(kernel)}; expected float32 [5, 5]")
        got = F.conv2d(image[None, None], kernel.detach()[None, None], padding=2)[0, 0]
        known = {
            "it moves the other way: a place takes what lies where the kernel has its 1": (
                moved(image, -dx, -dy)
            ),
            "right and down are swapped; rows come first": moved(image, dy, dx),
            "right and down are swapped, and both go the other way": moved(image, -dy, -dx),
            "down goes the other way": moved(image, dx, -dy),
            "it moves nothing": image,
        }
        with slips(got, moved(image, dx, dy), known):
            same(got, moved(image, dx, dy), case, "the moved image")


@exercise(stage=13)
def receptive_field(
    answer: Any,  # `answer(layers)`, a list of pairs (kernel size, stride), gives a whole number
) -> None:
    "Compute how many pixels wide the part of an image is that one unit sees."
    for layers in (
        [(5, 2), (2, 2), (3, 1)],
        [(3, 1)],
        [(5, 2)],
        [(3, 1), (3, 1)],
        [(3, 2), (3, 1)],
        [(3, 1), (2, 2), (3, 1), (2, 2)],
        [(1, 1), (7, 3), (1, 2), (4, 2), (3, 3)],
        [(11, 4), (3, 2), (5, 1), (3, 2), (3, 1), (3, 1), (3, 1), (3, 2)],
        [],
    ):
        case = f"for {layers}"
        expected = 1
        for kernel_size, stride in reversed(layers):  # from the unit back to the pixels
            expected = (expected - 1) * stride + kernel_size
        got = call(answer, layers, case=case)
        with slips(got, expected, wrong_fields(layers)):
            same_number(got, expected, case, tolerance=0)


def wrong_fields(layers: list[tuple[int, int]]) -> dict[str, int]:
    "What comes of the slips."
    sizes, strides = [k for k, _ in layers], [s for _, s in layers]
    before = [math.prod(strides[:i]) for i in range(len(layers))]
    return {
        "the strides are not counted": 1 + sum(k - 1 for k in sizes),
        "a stride counts for the layers after it, not for its own": (
            1 + sum((k - 1) * b * s for k, b, s in zip(sizes, before, strides, strict=True))
        ),
        "only the stride of the one layer before counts here; all before it do": (
            1 + sum((k - 1) * s for k, s in zip(sizes, [1, *strides], strict=False))
        ),
        "a window of k adds k - 1 steps, the first place is there already": (
            1 + sum(k * b for k, b in zip(sizes, before, strict=True))
        ),
        "this is the product of the kernel sizes; windows overlap": math.prod(sizes),
        "this is the sum of the kernel sizes; windows overlap": sum(sizes),
        "the unit itself is one place": sum(
            (k - 1) * b for k, b in zip(sizes, before, strict=True)
        ),
    }


POOLS = (
    (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, F.lp_pool1d, F.lp_pool2d, F.interpolate)
    + (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
)  # fmt: skip


@exercise(stage=13)
def average_pool(
    answer: Any,  # `answer(x, kernel_size, stride)` maps [n, channels, height, width] to smaller images
) -> None:
    "Write average pooling, as `torch.nn.functional.avg_pool2d`."
    for shape, k, s, of in (
        ((2, 3, 4, 4), 2, 2, torch.float32),
        ((1, 1, 5, 7), 3, 1, torch.float64),
        ((3, 2, 7, 4), 2, 3, torch.float32),
        ((1, 4, 6, 5), 3, 2, torch.float64),
        ((2, 2, 3, 3), 1, 1, torch.float32),
        ((4, 1, 28, 28), 28, 1, torch.float32),
        ((0, 2, 4, 4), 2, 2, torch.float32),
    ):
        x = torch.randn(shape, generator=seeded(k)).to(of)
        case = f"for images {list(shape)}, kernel_size={k} and stride={s}"
        expected = F.avg_pool2d(x, k, s)
        with Without(*POOLS, instead="take the mean of what unfold gives"):
            got = call(answer, x, k, s, case=case)
        known = {
            "this is the largest of each window, not its mean": F.max_pool2d(x, k, s),
            "this is the sum of each window, not its mean": expected * k * k,
            "this divides by the side of the window, not by its pixels": expected * k,
        }
        if x.shape[1] > 1:
            known["this is the mean over all channels; each has its own"] = expected.mean(
                1, keepdim=True
            ).expand_as(expected)
        if out_shape_with(x, k, k) == expected.shape:
            known["it moves by kernel_size, not by stride"] = F.avg_pool2d(x, k, k)
        with slips(got, expected, known):
            same(got, expected, case)


def out_shape_with(x: Tensor, kernel_size: int, stride: int) -> torch.Size:
    return F.avg_pool2d(x, kernel_size, stride).shape


FOLDS = F.fold, F.conv_transpose2d, F.conv_transpose1d, F.conv_transpose3d, F.max_unpool2d


@exercise(stage=13)
def fold(
    answer: Any,  # `answer(columns, height, width, kernel_size, stride)` gives images
) -> None:
    "Write the gradient of `unfold`: put columns back in their places, and add up where windows overlap."
    for n, channels, height, width, k, s, of in (
        (1, 1, 3, 3, 2, 1, torch.float64),
        (2, 1, 4, 6, 2, 2, torch.float64),
        (1, 3, 5, 4, 3, 1, torch.float64),
        (2, 2, 7, 6, 3, 2, torch.float64),
        (1, 2, 7, 8, 2, 3, torch.float32),
        (3, 2, 2, 2, 1, 1, torch.float32),
        (2, 1, 5, 5, 5, 1, torch.float64),
    ):
        h, w = ((side - k) // s + 1 for side in (height, width))
        columns = torch.randn(n, channels * k * k, h * w, generator=seeded(n + k)).to(of)
        case = (
            f"for columns {list(columns.shape)} of images {channels} x {height} x {width}, "
            f"kernel_size={k} and stride={s}"
        )
        expected = F.fold(columns, (height, width), k, stride=s)
        with Without(*FOLDS, instead="add slices"):
            got = by_hand(answer, columns, height, width, k, s, case=case)
        with slips(got, expected, wrong_folds(columns, (n, channels, height, width), k, s)):
            same(got, expected, case)


def wrong_folds(columns: Tensor, shape: tuple[int, ...], k: int, s: int) -> dict[str, Tensor]:
    "What comes of the slips."
    n, channels, height, width = shape
    h, w = ((side - k) // s + 1 for side in (height, width))
    counts = F.fold(torch.ones_like(columns), (height, width), k, stride=s)
    expected = F.fold(columns, (height, width), k, stride=s)
    last = columns.new_zeros(shape)
    pixels_first = columns.view(n, k * k, channels, h * w).transpose(1, 2).reshape_as(columns)
    turned = columns.view(n, channels, k, k, h * w).transpose(2, 3).reshape_as(columns)
    for i in range(k):
        for j in range(k):
            part = columns.view(n, channels, k, k, h, w)[:, :, i, j]
            last[:, :, i : i + h * s : s, j : j + w * s : s] = part
    return {
        "where windows overlap, the last one wins; add them up": last,
        "where windows overlap, it takes the mean; add them up": expected / counts.clamp(min=1),
        "the columns are read pixel by pixel; unfold writes all of one channel first": (
            F.fold(pixels_first, (height, width), k, stride=s)
        ),
        "rows and columns of the window are swapped": (
            F.fold(turned, (height, width), k, stride=s)
        ),
    }


@exercise(stage=13)
@torch.random.fork_rng(devices=[])
def fuse(
    answer: Any,  # `answer(conv, norm)`, an `nn.Conv2d` and an `nn.BatchNorm2d`, gives an `nn.Conv2d`
) -> None:
    "Make one convolution of a convolution and the batch norm behind it."

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise Wrong("it calls torch's fuse_conv_bn_eval; write it yourself")

    for (n_in, n_out, k, s, p), options, of in (
        ((1, 2, 3, 1, 0), {}, torch.float32),
        ((3, 4, 5, 2, 2), {"bias": False}, torch.float64),
        ((2, 2, 1, 1, 0), {"eps": 0.5}, torch.float64),
        ((4, 1, 3, 2, 1), {}, torch.float32),
    ):
        conv, norm = layers((n_in, n_out, k, s, p), options, of)
        words = "".join(f", {key}={value}" for key, value in options.items())
        case = f"for {n_in} -> {n_out} channels, kernel_size={k}, stride={s}, padding={p}{words}"
        given = copy.deepcopy((conv, norm))
        with (
            patch.object(fusion, "fuse_conv_bn_weights", refuse),
            failures(case, answer),
        ):
            fused = answer(*given)
        for mine, yours in zip((conv, norm), given, strict=True):
            unchanged(mine, yours, case)
        x = torch.randn(3, n_in, 9, 8, generator=seeded(5)).to(of)
        with torch.no_grad():
            expected = norm(conv(x))
        like_conv(fused, conv, case)
        if fused.bias is None:
            raise Wrong(f"{case}: the result has no bias; expected float [{n_out}]")
        with torch.no_grad(), failures(case, answer):
            got = F.conv2d(x, fused.weight, fused.bias, s, p)
        tolerance = 1e-4 if of == torch.float32 else 1e-9
        with slips(got, expected, wrong_fusions(conv, norm, x)):
            same(got, expected, case, "what the fused layer gives", tolerance)


def layers(
    sizes: tuple[int, ...], options: dict[str, Any], of: torch.dtype
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    "A convolution and a batch norm in evaluation mode, with numbers that tell slips apart."
    n_in, n_out, kernel_size, stride, padding = sizes
    has_bias = bool(options.get("bias", True))
    conv = nn.Conv2d(n_in, n_out, kernel_size, stride, padding, bias=has_bias)
    norm = nn.BatchNorm2d(n_out, eps=options.get("eps", 1e-5))
    g = seeded(6)
    for tensor in (*conv.state_dict().values(), *norm.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=g) + 0.5)
    return conv.to(of).eval(), norm.to(of).eval()


def unchanged(mine: nn.Module, yours: nn.Module, case: str) -> None:
    "Raise `Wrong` if the reader's function changed a layer that it was given."
    what, state = type(mine).__name__, yours.state_dict()
    if yours.training:
        raise Wrong(f"{case}: the given {what} is in training mode afterwards; leave it as it was")
    if list(state) != list(mine.state_dict()):
        raise Wrong(f"{case}: the given {what} now has {list(state)}; leave it as it was")
    for key, value in mine.state_dict().items():
        if value.shape != state[key].shape or not torch.equal(value, state[key]):
            raise Wrong(f"{case}: {key} of the given {what} has changed; make a new layer")


def like_conv(fused: Any, conv: nn.Conv2d, case: str) -> None:
    "Raise `Wrong` unless it is a plain convolution with the settings of this one."
    if type(fused) is not nn.Conv2d:
        raise Wrong(f"{case}: it gives {nothing_or_type(fused)}; expected an nn.Conv2d")
    for key in ("in_channels", "out_channels", "kernel_size", "stride", "padding", "groups"):
        mine, yours = getattr(conv, key), getattr(fused, key)
        if mine != yours:
            raise Wrong(f"{case}: {key} is {yours}; expected {mine}")
    if fused.weight.dtype != conv.weight.dtype:
        raise Wrong(f"{case}: the weight is {fused.weight.dtype}; expected {conv.weight.dtype}")
    hooks = (fused._forward_hooks, fused._forward_pre_hooks, fused.__dict__.get("forward"))
    if any(hooks):
        raise Wrong(f"{case}: it has a hook or a forward of its own; change weight and bias only")


def wrong_fusions(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor) -> dict[str, Tensor]:
    "What comes of the slips."
    w, gamma, beta = conv.weight.detach(), norm.weight.detach(), norm.bias.detach()
    assert norm.running_mean is not None
    assert norm.running_var is not None
    mean, var = norm.running_mean, norm.running_var + norm.eps
    bias = torch.zeros_like(mean) if conv.bias is None else conv.bias.detach()

    def out(scale: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(x, w * scale[:, None, None, None], bias, conv.stride, conv.padding)

    scale = gamma / var.sqrt()
    return {
        "it divides by the variance, not by its root": out(
            gamma / var, (bias - mean) * gamma / var + beta
        ),
        "eps is missing": out(
            gamma / norm.running_var.sqrt(), (bias - mean) * gamma / norm.running_var.sqrt() + beta
        ),
        "the bias of the convolution is not scaled": out(scale, bias - mean * scale + beta),
        "the bias of the convolution is left out": out(scale, beta - mean * scale),
        "the running mean is not scaled": out(scale, bias * scale - mean + beta),
        "the running mean is left out": out(scale, bias * scale + beta),
        "only the weight is new, the bias is the old one": out(scale, bias),
        "weight and bias of the batch norm are left out": out(
            1 / var.sqrt(), (bias - mean) / var.sqrt()
        ),
        "this is the convolution as it was": out(torch.ones_like(mean), bias),
    }
