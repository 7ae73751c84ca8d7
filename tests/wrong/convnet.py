"Plausible wrong answers to the exercises of stage 13, each with what its check has to say."

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from mnist_walkthrough.convnet import out_size, unfold


def kernel_with(row, column):
    kernel = torch.zeros(5, 5)
    kernel[row, column] = 1
    return kernel


def field(layers, size=1, own_stride=False, k_steps=False):
    step = 1
    for kernel_size, stride in layers:
        step = step * stride if own_stride else step
        size += (kernel_size - (not k_steps)) * step
        step = step if own_stride else step * stride
    return size


def from_the_first(layers):
    size, step = layers[0]
    for kernel_size, stride in layers[1:]:
        size += (kernel_size - 1) * step
        step *= stride
    return size


def pool(x, kernel_size, stride, reduce):
    columns = unfold(x.flatten(0, 1)[:, None], kernel_size, stride)
    sides = [out_size(side, kernel_size, stride) for side in x.shape[2:]]
    return reduce(columns).view(*x.shape[:2], *sides)


def all_channels(x, kernel_size, stride):
    sides = [out_size(side, kernel_size, stride) for side in x.shape[2:]]
    out = unfold(x, kernel_size, stride).mean(1).view(len(x), 1, *sides)
    return out.expand(-1, x.shape[1], -1, -1).clone()


def blocks(x, kernel_size, stride):
    n, c, h, w = x.shape
    k = kernel_size
    return x[:, :, : h // k * k, : w // k * k].reshape(n, c, h // k, k, w // k, k).mean((3, 5))


def folded(columns, height, width, kernel_size, stride, write="add", pixels_first=False):
    h, w = (out_size(side, kernel_size, stride) for side in (height, width))
    k = kernel_size
    if pixels_first:
        slices = columns.view(len(columns), k, k, -1, h, w).permute(0, 3, 1, 2, 4, 5)
    else:
        slices = columns.view(len(columns), -1, k, k, h, w)
    out = columns.new_zeros(*slices.shape[:2], height, width)
    counts = torch.zeros_like(out)
    for i in range(k):
        for j in range(k):
            at = (..., slice(i, i + h * stride, stride), slice(j, j + w * stride, stride))
            out[at] = slices[:, :, i, j] + (out[at] if write != "last" else 0)
            counts[at] += 1
    return out / counts.clamp(min=1) if write == "mean" else out


def no_stride(columns, height, width, kernel_size, stride):
    return folded(columns, height, width, kernel_size, 1)


def by_autograd(columns, height, width, kernel_size, stride):
    channels = columns.shape[1] // kernel_size**2
    x = columns.new_zeros(len(columns), channels, height, width, requires_grad=True)
    return torch.autograd.grad(unfold(x, kernel_size, stride), x, columns)[0]


def fused(conv, norm, root=True, eps=True, scaled=True, in_place=False, mean=True):
    new = conv if in_place else copy.deepcopy(conv)
    var = norm.running_var + norm.eps * eps
    scale = norm.weight.detach() / (var.sqrt() if root else var)
    old = torch.zeros(()) if conv.bias is None else conv.bias.detach()
    new.weight = nn.Parameter(conv.weight.detach() * scale[:, None, None, None])
    off = norm.running_mean * mean
    bias = (old - off) * scale if scaled else old - off * scale
    new.bias = nn.Parameter((bias + norm.bias.detach()).to(conv.weight.dtype))
    return new


def forgets_that_a_bias_may_be_missing(conv, norm):
    return fused(copy.deepcopy(conv), norm) if conv.bias + 0 is not None else None


def without_stride(conv, norm):
    new = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size)
    made = fused(conv, norm)
    new.weight, new.bias = made.weight, made.bias
    return new


WRONG = {
    "shift_kernel": [
        (lambda dx, dy: kernel_with(2 + dy, 2 + dx), "it moves the other way"),
        (lambda dx, dy: kernel_with(2 - dx, 2 - dy), "right and down are swapped; rows"),
        (lambda dx, dy: kernel_with(2 + dx, 2 + dy), "are swapped, and both go the other way"),
        (lambda dx, dy: kernel_with(2 + dy, 2 - dx), "down goes the other way"),
        (lambda dx, dy: kernel_with(2, 2), "it moves nothing"),
        (lambda dx, dy: kernel_with(2 - dy, 2 - dx)[None, None], "float32 [1, 1, 5, 5]; expected"),
        (lambda dx, dy: kernel_with(2 - dy, 2 - dx) / 2, "for dx=1 and dy=2: the moved image at"),
    ],
    "receptive_field": [
        (lambda layers: 1 + sum(k - 1 for k, _ in layers), "the strides are not counted"),
        (lambda layers: field(layers, own_stride=True), "not for its own"),
        (lambda layers: field(layers, k_steps=True), "adds k - 1 steps"),
        (lambda layers: field(layers, size=0), "the unit itself is one place"),
        (lambda layers: math.prod(k for k, _ in layers), "the product of the kernel sizes"),
        (lambda layers: sum(k for k, _ in layers), "the sum of the kernel sizes"),
        (lambda layers: 15, "for [(3, 1)]: the result is 15"),
        (from_the_first, "for []: from_the_first raises IndexError"),
    ],
    "average_pool": [
        (lambda x, k, s: pool(x, k, s, lambda c: c.amax(1)), "the largest of each window"),
        (lambda x, k, s: pool(x, k, s, lambda c: c.sum(1)), "the sum of each window"),
        (lambda x, k, s: pool(x, k, s, lambda c: c.sum(1) / k), "the side of the window"),
        (lambda x, k, s: pool(x, k, s, lambda c: c.mean(1)).float(), "the result is float32"),
        (all_channels, "each has its own"),
        (blocks, "for images [1, 1, 5, 7], kernel_size=3 and stride=1: the result has shape"),
        (F.avg_pool2d, "which is what you are to write"),
    ],
    "fold": [
        (lambda *given: folded(*given, write="last"), "the last one wins"),
        (lambda *given: folded(*given, write="mean"), "it takes the mean"),
        (lambda *given: folded(*given, pixels_first=True), "all of one channel first"),
        (no_stride, "kernel_size=2 and stride=2: no_stride raises"),
        (lambda c, h, w, k, s: F.fold(c, (h, w), k, stride=s), "it calls torch.nn.functional.fold"),
        (by_autograd, "it calls grad, which is what"),
    ],
    "fuse": [
        (lambda conv, norm: fused(conv, norm, root=False), "not by its root"),
        (lambda conv, norm: fused(conv, norm, eps=False), "eps is missing"),
        (lambda conv, norm: fused(conv, norm, scaled=False), "the convolution is not scaled"),
        (lambda conv, norm: fused(conv, norm, mean=False), "the running mean is left out"),
        (lambda conv, norm: fused(conv, norm, in_place=True), "make a new layer"),
        (lambda conv, norm: conv, "this is the convolution as it was"),
        (lambda conv, norm: nn.Sequential(conv, norm), "it gives a Sequential"),
        (without_stride, "stride is (1, 1); expected (2, 2)"),
        (forgets_that_a_bias_may_be_missing, "bias=False: forgets"),
        (fuse_conv_bn_eval, "it calls torch's fuse_conv_bn_eval"),
    ],
}
