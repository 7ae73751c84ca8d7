"Plausible wrong answers to the exercises of stage 3, each with what its check has to say."

import copy
import math

import torch
from torch import nn
from torch.nn import functional as F

from mnist_walkthrough.net import Sequential, mlp


class Linear(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        bound = 1 / math.sqrt(n_in)
        self.weight = nn.Parameter(torch.empty(n_out, n_in).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound))

    def forward(self, x):
        return x @ self.weight.T + self.bias


class BiasOfABatch(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.bias = nn.Parameter(torch.zeros(1, n_out))


class Transposed(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.weight = nn.Parameter(torch.randn(n_in, n_out))

    def forward(self, x):
        return x @ self.weight + self.bias


class NotRegistered(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        del self.bias
        self.bias = torch.zeros(n_out)


class NoBias(Linear):
    def forward(self, x):
        return x @ self.weight.T


class Unscaled(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.randn(n_out))


class NormalStart(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.weight = nn.Parameter(torch.randn(n_out, n_in) / math.sqrt(3 * n_in))


class ClampedNormal(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        bound = 1 / math.sqrt(n_in)
        w = torch.randn(n_out, n_in) * bound / math.sqrt(3)
        self.weight = nn.Parameter(w.clamp(-bound, bound))


class Signs(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.weight = nn.Parameter(torch.randn(n_out, n_in).sign() / math.sqrt(3 * n_in))


class Borrowed(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        layer = nn.Linear(n_in, n_out)
        self.weight, self.bias = layer.weight, layer.bias


class ZeroBias(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.bias = nn.Parameter(torch.zeros(n_out))


class Seeded(Linear):
    def __init__(self, n_in, n_out):
        torch.manual_seed(0)
        super().__init__(n_in, n_out)


class Detached(Linear):
    def forward(self, x):
        return x @ self.weight.data.T + self.bias


class InTwoDimensions(Linear):
    def forward(self, x):
        return torch.mm(x, self.weight.t()) + self.bias


def with_first_layer(net, change):
    other = copy.deepcopy(net)
    with torch.no_grad():
        change(other[0].weight, other[0].bias, other[2].weight)
    return other


def only_first_layer(net):
    def flip(w, b, v):
        w.copy_(w.flip(0)), b.copy_(b.flip(0))

    return with_first_layer(net, flip)


def biases_left(net):
    def flip(w, b, v):
        w.copy_(w.flip(0)), v.copy_(v.flip(1))

    return with_first_layer(net, flip)


def negated(net):
    def turn(w, b, v):
        w.mul_(-1), b.mul_(-1), v.mul_(-1)

    return with_first_layer(net, turn)


def scaled_both_ways(net):
    def scale(w, b, v):
        w.mul_(2), b.mul_(2), v.mul_(2)

    return with_first_layer(net, scale)


def in_place(net):
    with torch.no_grad():
        net[0].weight.mul_(2), net[0].bias.mul_(2), net[2].weight.div_(2)
    return net


def fresh(net):
    return mlp(*(len(p) for p in (net[0].weight.T, net[0].weight, net[2].weight)))


def one_unit_more(net):
    n_in, n_hidden, n_out = net[0].weight.shape[1], len(net[0].weight), len(net[2].weight)
    return mlp(n_in, n_hidden + 1, n_out)


class Impostor(Sequential):
    "Other weights, the old net's answers."

    def __init__(self, net):
        super().__init__(*copy.deepcopy(net))
        self.answers = [net]
        with torch.no_grad():
            self[0].weight.add_(1)

    def forward(self, x):
        return self.answers[0](x)


class Dropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError("p")
        self.p = p

    def keep(self, x):
        return torch.rand(x.shape) >= self.p

    def train_forward(self, x):
        return torch.where(self.keep(x), x / (1 - self.p) if self.p < 1 else x, 0.0)

    def forward(self, x):
        return self.train_forward(x) if self.training else x


class NotScaled(Dropout):
    def train_forward(self, x):
        return x * self.keep(x)


class KeepsP(Dropout):
    def keep(self, x):
        return torch.rand(x.shape) < self.p


class OlderForm(NotScaled):
    def forward(self, x):
        if self.training:
            return x * self.keep(x) / (1 - self.p)
        return x * (1 - self.p)


class Always(Dropout):
    def forward(self, x):
        return self.train_forward(x)


class OneMask(Dropout):
    mask = None

    def keep(self, x):
        if self.mask is None or self.mask.shape != x.shape:
            self.mask = super().keep(x)
        return self.mask


class WholeRows(Dropout):
    def keep(self, x):
        return torch.rand(x.shape[0], 1) >= self.p if x.dim() > 1 else super().keep(x)


class SameForEachRow(Dropout):
    def keep(self, x):
        return torch.rand(x.shape[-1:]) >= self.p


class ExactShare(Dropout):
    def keep(self, x):
        order = torch.randperm(x.numel()).view(x.shape)
        return order >= round(self.p * x.numel())


class NanAtOne(Dropout):
    def train_forward(self, x):
        return x * self.keep(x) / torch.tensor(1 - self.p)


class DivisionByZero(Dropout):
    def train_forward(self, x):
        return x * self.keep(x) * (1 / (1 - self.p))


class AnyP(Dropout):
    def __init__(self, p):
        super().__init__(0.5)
        self.p = p


class OwnRandom(Dropout):
    def keep(self, x):
        return torch.rand(x.shape, generator=GENERATOR) >= self.p


class InPlace(Dropout):
    def train_forward(self, x):
        return x.mul_(self.keep(x)).div_(1 - self.p)


class CutOff(Dropout):
    def train_forward(self, x):
        return super().train_forward(x.detach())


class OfTorch(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.inner = nn.Dropout(p)

    def forward(self, x):
        return self.inner(x)


class Functional(Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, self.training)


GENERATOR = torch.Generator()


class BatchNorm(nn.Module):
    def __init__(self, n_features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(n_features))
        self.bias = nn.Parameter(torch.zeros(n_features))
        self.register_buffer("running_mean", torch.zeros(n_features))
        self.register_buffer("running_var", torch.ones(n_features))

    def batch(self, x):
        return x.mean(0), x.var(0, correction=0)

    def remember(self, x):
        with torch.no_grad():
            self.running_mean.lerp_(x.mean(0), self.momentum)
            self.running_var.lerp_(x.var(0), self.momentum)

    def statistics(self, x):
        if not self.training:
            return self.running_mean, self.running_var
        if len(x) < 2:
            raise ValueError("a batch of one has no variance")
        self.remember(x)
        return self.batch(x)

    def scale(self, var):
        return (var + self.eps).sqrt()

    def forward(self, x):
        mean, var = self.statistics(x)
        return (x - mean) / self.scale(var) * self.weight + self.bias


class Unbiased(BatchNorm):
    def batch(self, x):
        return x.mean(0), x.var(0)


class BiasedMemory(BatchNorm):
    def remember(self, x):
        with torch.no_grad():
            mean, var = self.batch(x)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var, self.momentum)


class Reversed(BatchNorm):
    def remember(self, x):
        with torch.no_grad():
            self.running_mean.lerp_(x.mean(0), 1 - self.momentum)
            self.running_var.lerp_(x.var(0), 1 - self.momentum)


class Replaced(BatchNorm):
    def remember(self, x):
        with torch.no_grad():
            self.running_mean.copy_(x.mean(0))
            self.running_var.copy_(x.var(0))


class VarReplaced(BatchNorm):
    def remember(self, x):
        with torch.no_grad():
            self.running_mean.lerp_(x.mean(0), self.momentum)
            self.running_var.copy_(x.var(0))


class Engine(BatchNorm):
    def forward(self, x):
        memory = self.running_mean, self.running_var
        flags = self.training, self.momentum, self.eps, False
        return torch._batch_norm_impl_index(x, self.weight, self.bias, *memory, *flags)[0]


class NoMemory(BatchNorm):
    def remember(self, x):
        pass


class EpsOutside(BatchNorm):
    def scale(self, var):
        return var.sqrt() + self.eps


class NoRoot(BatchNorm):
    def scale(self, var):
        return var + self.eps


class OneMean(BatchNorm):
    def batch(self, x):
        return x.mean(), x.var(correction=0)


class LayerNorm(BatchNorm):
    def batch(self, x):
        return x.mean(1, keepdim=True), x.var(1, correction=0, keepdim=True)


class OneMode(BatchNorm):
    def statistics(self, x):
        if self.training and len(x) < 2:
            raise ValueError
        if self.training:
            self.remember(x)
        return self.batch(x)


class RunningInTraining(BatchNorm):
    def statistics(self, x):
        if self.training and len(x) < 2:
            raise ValueError
        if self.training:
            self.remember(x)
        return self.running_mean.clone(), self.running_var.clone()


class RemembersAlways(BatchNorm):
    def statistics(self, x):
        old = self.running_mean.clone(), self.running_var.clone()
        if self.training:
            return super().statistics(x)
        if len(x) > 1:
            self.remember(x)
        return old


class DetachedStatistics(BatchNorm):
    def batch(self, x):
        return super().batch(x.detach())


class KeepsGraph(BatchNorm):
    def remember(self, x):
        m = self.momentum
        self.running_mean = (1 - m) * self.running_mean + m * x.mean(0)
        self.running_var = (1 - m) * self.running_var + m * x.var(0)


class NoBuffers(BatchNorm):
    def __init__(self, n_features, eps=1e-5, momentum=0.1):
        super().__init__(n_features, eps, momentum)
        del self.running_mean, self.running_var
        self.running_mean, self.running_var = torch.zeros(n_features), torch.ones(n_features)


class MemoryAsParameters(BatchNorm):
    def __init__(self, n_features, eps=1e-5, momentum=0.1):
        super().__init__(n_features, eps, momentum)
        del self.running_mean
        self.running_mean = nn.Parameter(torch.zeros(n_features))


class BatchOfOne(BatchNorm):
    def remember(self, x):
        if len(x) > 1:
            super().remember(x)

    def statistics(self, x):
        if not self.training:
            return self.running_mean, self.running_var
        self.remember(x)
        return self.batch(x)


class Cancelling(BatchNorm):
    def batch(self, x):
        return x.mean(0), x.square().mean(0) - x.mean(0).square()


class Hidden(BatchNorm):
    def forward(self, x):
        inner = [nn.BatchNorm1d(len(self.bias))]
        return inner[0](x)


class NotAffine(BatchNorm):
    def forward(self, x):
        mean, var = self.statistics(x)
        return (x - mean) / self.scale(var)


WRONG = {
    "weight_std": [
        (lambda n_in, slope: math.sqrt(1 / n_in), "this keeps the scale of z"),
        (lambda n_in, slope: 2 / n_in, "this is the variance"),
        (lambda n_in, slope: math.sqrt(2 / n_in), "this is right behind a ReLU"),
        (lambda n_in, slope: math.sqrt(2 / n_in / (1 + slope)), "wants the square of the slope"),
        (lambda n_in, slope: math.sqrt(6 / n_in), "the bound of a uniform distribution"),
        (lambda n_in, slope: 1 / math.sqrt(3 * n_in), "torch's own start"),
        (lambda n_in, slope: 0.1414, "for 784 inputs and slope 0: with weights of deviation 0.1414"),
        (lambda n_in, slope: 0.0, "a standard deviation is above 0"),
        (lambda n_in, slope: torch.randn(n_in), "is a tensor float32 [100]; expected a number"),
    ],
    "same_function": [
        (copy.deepcopy, "expected another net, not a copy"),
        (only_first_layer, "the second layer still takes the hidden units as they were"),
        (biases_left, "the biases of the hidden units have stayed"),
        (negated, "a unit times a negative number"),
        (scaled_both_ways, "the logit at [0, 0] is"),
        (in_place, "0.weight of the given net has changed"),
        (one_unit_more, "0.weight has shape [4, 4]; expected a tensor float32 [3, 4]"),
        (fresh, "the logit at [0, 0] is"),
        (Impostor, "the logit at [0, 0] is"),
    ],
    "linear": [
        (BiasOfABatch, "your bias has shape [1, 3]; expected [3]"),
        (Transposed, "your weight has shape [5, 3]; expected [3, 5]: one row per unit"),
        (NotRegistered, "your bias is a plain tensor, which no optimizer would find"),
        (NoBias, "the bias is not added"),
        (Unscaled, "weight starts with mean 0.004 and deviation 1.005"),
        (NormalStart, "the largest number in weight starts as"),
        (ClampedNormal, "weight starts with mean 0.000 and deviation 0.054; expected mean 0 and deviation 0.058"),
        (Signs, "% start at -0.0577 or below; expected 21.1%, as they are drawn uniformly"),
        (Borrowed, "it makes a torch.nn.Linear"),
        (ZeroBias, "every number in bias starts as 0"),
        (Seeded, "do not fix a seed"),
        (Detached, "the gradient does not reach the weight"),
        (InTwoDimensions, "and a batch of 2×3: your InTwoDimensions raises RuntimeError"),
        (type("Fused", (Linear,), {"forward": lambda self, x: F.linear(x, self.weight, self.bias)}),
         "calls torch.nn.functional.linear"),
    ],
    "leaky_relu": [
        (lambda x, slope: torch.max(x, slope * x), "another function when the slope is above 1"),
        (lambda x, slope: x.clamp(min=0), "this is a ReLU"),
        (lambda x, slope: torch.where(x >= 0, x, slope * x), "torch counts 0 to the left side"),
        (lambda x, slope: F.relu(x) - slope * F.relu(-x), "no branch passes anything on"),
        (lambda x, slope: x * (x > 0) + slope * x * (x <= 0), "0 times infinity is NaN"),
        (lambda x, slope: torch.where(x > 0, x, torch.where(x <= 0, slope * x, 0.0)),
         "NaN should stay NaN"),
        (lambda x, slope: torch.where(x > 0, x, 0.01 * x), "for slope 0.3 and x = random numbers"),
        (lambda x, slope: torch.where(x.detach() > 0, x.detach(), slope * x.detach()),
         "the result has no gradient"),
        (lambda x, slope: torch.where(x > 0, x, x * torch.tensor(slope).to(x.dtype)), "rounded to float32"),
        (lambda x, slope: x.clamp(min=0) + slope * x.clamp(max=0), "both branches pass it on"),
        (F.leaky_relu, "calls torch.nn.functional.leaky_relu"),
        (lambda x, slope: F.prelu(x, torch.tensor([slope], dtype=x.dtype)), "calls torch.nn.functional.prelu"),
    ],
    "dropout": [
        (NotScaled, "what is kept is not divided by 1 - p, so the mean falls"),
        (KeepsP, "0.802 of 60,000 numbers become 0; expected 0.2: p is the probability to be dropped"),
        (OlderForm, "this is the older form"),
        (Always, "in evaluation mode: numbers become 0; expected x as it is"),
        (OneMask, "two calls drop the same numbers"),
        (WholeRows, "and of two side by side both in"),
        (SameForEachRow, "and of two one above the other both in"),
        (ExactShare, "of ten numbers exactly 2 become 0 in each of 100 calls"),
        (NanAtOne, "division by 1 - p = 0"),
        (DivisionByZero, "for p = 1 in training mode: your DivisionByZero raises ZeroDivisionError"),
        (AnyP, "for p = -0.1, which is no probability: no error is raised"),
        (OwnRandom, "after the same torch.manual_seed other numbers are dropped"),
        (InPlace, "changes a tensor that it is given"),
        (CutOff, "the result has no gradient"),
        (OfTorch, "it contains torch's Dropout"),
        (Functional, "calls torch.nn.functional.dropout"),
    ],
    "batch_norm": [
        (Unbiased, "it divides by the unbiased variance (n - 1)"),
        (BiasedMemory, "the biased variance (n) went in"),
        (Reversed, "momentum is the share of the new value"),
        (NoMemory, "running_mean afterwards at [0] is 0.76036; expected 0.93706: it has not moved"),
        (EpsOutside, "eps belongs under the root"),
        (NoRoot, "it divides by the variance, not by its root"),
        (OneMean, "it takes one mean over all features"),
        (LayerNorm, "it takes the mean of each row"),
        (OneMode, "it uses the statistics of the batch; here the running ones count"),
        (RunningInTraining, "it uses the running statistics, just updated"),
        (RemembersAlways, "running_mean moves; here it is only used"),
        (DetachedStatistics, "mean and variance depend on x too"),
        (KeepsGraph, "running_mean holds on to the graph"),
        (NoBuffers, "your running_mean is a plain tensor, which state_dict() leaves out"),
        (MemoryAsParameters, "your running_mean is a parameter"),
        (BatchOfOne, "for a batch of one in training mode, which has no variance: no error"),
        (Cancelling, "loses digits"),
        (NotAffine, "weight and bias are not used"),
        (Hidden, "calls torch.nn.functional.batch_norm"),
        (Replaced, "running_mean afterwards at [0] is 2.52736; expected 0.93706: the old value is gone"),
        (VarReplaced, "expected 0.883082: the old value is gone; keep 1 - momentum of it"),
        (Engine, "_batch_norm_impl_index"),
        (nn.BatchNorm1d, "it is torch's BatchNorm1d"),
        (type("MyNorm", (nn.BatchNorm1d,), {}), "it inherits from torch's BatchNorm1d"),
    ],
}  # fmt: skip
