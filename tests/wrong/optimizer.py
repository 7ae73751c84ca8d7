"Plausible wrong answers to the exercises of stage 4, each with what its check has to say."

import torch
from torch.nn.utils import clip_grad_norm_

from mnist_walkthrough.optimizer import SGD, Optimizer


def half_of_squares(params, weight_decay):
    return weight_decay / 2 * sum(p.square().sum() for p in params)


def read_twice(params, weight_decay):
    n = sum(p.numel() for p in params)
    return half_of_squares(params, weight_decay) * n / n if n else 0.0


def matrices(params):
    params = list(params)
    return [p for p in params if p.dim() > 1] or params


def clip_by(norm_of):
    def clip_gradients(params, max_norm):
        there = [p for p in params if p.grad is not None]
        norm = norm_of([p.grad for p in there])
        if norm > max_norm:
            for p in there:
                p.grad *= max_norm / norm
        return norm

    return clip_gradients


def total(gradients):
    return sum((g.square().sum() for g in gradients), torch.tensor(0.0)).sqrt()


def always(params, max_norm):
    there = [p for p in params if p.grad is not None]
    norm = total([p.grad for p in there])
    for p in there:
        p.grad *= max_norm / norm
    return norm


def nan_at_zero(params, max_norm):
    there = [p for p in params if p.grad is not None]
    norm = total([p.grad for p in there])
    for p in there:
        p.grad *= min(1, max_norm / norm) if norm else torch.tensor(0.0) / norm
    return norm


def each_by_its_own(params, max_norm):
    params = list(params)
    norm = total([p.grad for p in params if p.grad is not None])
    for p in params:
        if p.grad is not None:
            p.grad *= (max_norm / p.grad.norm()).clamp(max=1)
    return norm


def by_value(params, max_norm):
    params = list(params)
    norm = total([p.grad for p in params if p.grad is not None])
    for p in params:
        if p.grad is not None:
            p.grad.clamp_(-max_norm, max_norm)
    return norm


def new_tensors(params, max_norm):
    there = [p.grad for p in params if p.grad is not None]
    norm = total(there)
    if norm > max_norm:
        there = [g * max_norm / norm for g in there]
    return norm


def norm_after(params, max_norm):
    params = list(params)
    clip_by(total)(params, max_norm)
    return total([p.grad for p in params if p.grad is not None])


def nothing_returned(params, max_norm):
    clip_by(total)(params, max_norm)


def none_forgotten(params, max_norm):
    params = list(params)
    norm = total([p.grad for p in params])
    clip_by(total)(params, max_norm)
    return norm


class Momentum(Optimizer):
    def __init__(self, params, lr, momentum):
        super().__init__(params)
        self.lr, self.momentum = lr, momentum
        self.v = [torch.zeros_like(p) for p in self.params]

    @torch.no_grad()
    def step(self):
        for p, v in zip(self.params, self.v, strict=True):
            if p.grad is not None:
                self.move(p, v)

    def move(self, p, v):
        v.mul_(self.momentum).add_(p.grad)
        p.sub_(self.lr * v)


def moving(move):
    "Momentum with another move."
    return type("Momentum", (Momentum,), {"move": move})


def no_memory(self, p, v):
    p.sub_(self.lr * p.grad)


def dampened(self, p, v):
    v.mul_(self.momentum).add_((1 - self.momentum) * p.grad)
    p.sub_(self.lr * v)


def rate_in_velocity(self, p, v):
    v.mul_(self.momentum).add_(self.lr * p.grad)
    p.sub_(v)


def look_ahead(self, p, v):
    v.mul_(self.momentum).add_(p.grad)
    p.sub_(self.lr * (p.grad + self.momentum * v))


def climbs(self, p, v):
    v.mul_(self.momentum).add_(p.grad)
    p.add_(self.lr * v)


def plain(self, p, v):
    v.mul_(self.momentum).add_(p.grad)
    p.sub_(self.lr * v)


def old_velocity(self, p, v):
    p.sub_(self.lr * (p.grad + self.momentum * v))
    v.mul_(self.momentum).add_(p.grad)


def whole_velocity(self, p, v):
    v.mul_(self.momentum).add_(p.grad)
    p.sub_(self.lr * (p.grad + v))


def without_gradient(self, p, v):
    v.mul_(self.momentum).add_(p.grad)
    p.sub_(self.lr * self.momentum * v)


def twice(self, p, v):
    v.mul_(self.momentum).add_(p.grad)
    p.sub_(self.lr * (v + self.momentum * v))


def nesterov_rate_in_velocity(self, p, v):
    v.mul_(self.momentum).add_(self.lr * p.grad)
    p.sub_(self.lr * p.grad + self.momentum * v)


class OneVelocity(Momentum):
    v_of_all = 0

    def move(self, p, v):
        self.v_of_all = self.momentum * self.v_of_all + p.grad
        p.sub_(self.lr * self.v_of_all)


class NotAList(Momentum):
    def __init__(self, params, lr, momentum):
        self.params, self.lr, self.momentum, self.velocity = params, lr, momentum, {}

    @torch.no_grad()
    def step(self):
        for p in self.params:
            self.move(p, self.velocity.setdefault(p, torch.zeros_like(p)))


class NoneForgotten(Momentum):
    @torch.no_grad()
    def step(self):
        for p, v in zip(self.params, self.v, strict=True):
            self.move(p, v)


class FadesMeanwhile(Momentum):
    @torch.no_grad()
    def step(self):
        for p, v in zip(self.params, self.v, strict=True):
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            self.move(p, v)


class KeyedByShape(Momentum):
    step_of = staticmethod(lambda self, p, v: self.lr * v)

    @torch.no_grad()
    def step(self):
        memory = self.__dict__.setdefault("memory", {})
        for p in self.params:
            if p.grad is not None:
                key = tuple(p.shape)
                memory[key] = self.momentum * memory.get(key, 0) + p.grad
                p.sub_(self.step_of(self, p, memory[key]))


class ByPosition(KeyedByShape):
    @torch.no_grad()
    def step(self):
        memory = self.__dict__.setdefault("memory", {})
        for i, p in enumerate(p for p in self.params if p.grad is not None):
            memory[i] = self.momentum * memory.get(i, 0) + p.grad
            p.sub_(self.step_of(self, p, memory[i]))


def nesterovs(kind):
    step_of = staticmethod(lambda self, p, v: self.lr * (p.grad + self.momentum * v))
    return type(f"Nesterovs{kind.__name__}", (kind,), {"step_of": step_of})


class BorrowedStep(Optimizer):
    def __init__(self, params, lr, momentum):
        super().__init__(params)
        self.lr, self.momentum, self.weight_decay, self.velocity = lr, momentum, 0, {}

    step, direction = SGD.step, SGD.direction


class Behind(SGD):
    pass


def behind_a_function(params, lr, momentum):
    return Behind(params, lr, momentum)


class Aliased(Momentum):
    def __init__(self, params, lr, momentum):
        super().__init__(params, lr, momentum)
        self.velocity = {}

    def move(self, p, v):
        old = self.velocity.get(p)
        self.velocity[p] = p.grad if old is None else self.momentum * old + p.grad
        p.sub_(self.lr * self.velocity[p])


class InTheGradient(Momentum):
    def move(self, p, v):
        v.copy_(p.grad.add_(self.momentum * v))
        p.sub_(self.lr * v)


class NoZeroGrad(Momentum):
    def zero_grad(self):
        pass


class Graph(Momentum):
    def step(self):
        for p, v in zip(self.params, self.v, strict=True):
            v.mul_(self.momentum).add_(p.grad)
            p -= self.lr * v


class FixedRate(Momentum):
    def __init__(self, params, lr, momentum):
        super().__init__(params, lr, momentum)
        self.rate = lr

    def move(self, p, v):
        v.mul_(self.momentum).add_(p.grad)
        p.sub_(self.rate * v)


class Wrapped:
    def __init__(self, params, lr, momentum):
        self.lr, self.inner = lr, SGD(params, lr, momentum)

    def step(self):
        self.inner.step()

    def zero_grad(self):
        self.inner.zero_grad()


class WrappedTorch(Wrapped):
    def __init__(self, params, lr, momentum):
        self.lr, self.inner = lr, torch.optim.SGD(params, lr, momentum, nesterov=True)


class Adam(Optimizer):
    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params)
        self.lr, self.betas, self.eps = lr, betas, eps
        self.state = {p: [0, torch.zeros_like(p), torch.zeros_like(p)] for p in self.params}

    @torch.no_grad()
    def step(self):
        for p in self.params:
            if p.grad is not None:
                self.move(p, p.grad, self.state[p])

    def move(self, p, g, state):
        t, m, s = state
        beta1, beta2 = self.betas
        state[0] = t = t + 1
        m.mul_(beta1).add_((1 - beta1) * g)
        s.mul_(beta2).add_((1 - beta2) * self.squared(g))
        p.sub_(self.lr * self.direction(m, s, *self.corrections(t)))

    def squared(self, g):
        return g**2

    def corrections(self, t):
        return 1 - self.betas[0] ** t, 1 - self.betas[1] ** t

    def direction(self, m, s, c1, c2):
        return m / c1 / ((s / c2).sqrt() + self.eps)


def adam(**methods):
    return type("Adam", (Adam,), methods)


class CountsParameters(Adam):
    t = 0

    def corrections(self, t):
        self.t += 1
        return super().corrections(self.t)


class CountsAllSteps(Adam):
    t = 0

    def step(self):
        self.t += 1
        super().step()

    def corrections(self, t):
        return super().corrections(self.t)


class CountsFromZero(Adam):
    def corrections(self, t):
        return super().corrections(t - 1)


class OneCorrection(Adam):
    def corrections(self, t):
        return super().corrections(1)


class Stored(Adam):
    def direction(self, m, s, c1, c2):
        m.div_(c1), s.div_(c2)
        return m / (s.sqrt() + self.eps)


class Whole(Adam):
    def move(self, p, g, state):
        state[0] += 1
        state[1].mul_(self.betas[0]).add_(g)
        state[2].mul_(self.betas[1]).add_(g**2)
        p.sub_(self.lr * self.direction(*state[1:], *self.corrections(state[0])))


class AdamByShape(Adam):
    def move(self, p, g, state):
        super().move(p, g, self.state.setdefault(tuple(p.shape), state))


class Exchanged(Adam):
    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(params, lr, betas[::-1], eps)


WRONG = {
    "rescuing_rate": [
        (lambda curvatures, momentum: 2 / max(curvatures),
         "with a rate of 0.1 plain descent is at 0.71 times"),
        (lambda curvatures, momentum: 1.9 / max(curvatures), "expected more than 1, the rate is too small"),
        (lambda curvatures, momentum: 0.15, "for curvatures [1.0] and momentum 0.9: after 1,000 steps with a rate of 0.15"),
        (lambda curvatures, momentum: (2 + momentum) / min(curvatures),
         "too large for the steepest curvature, 20"),
        (lambda curvatures, momentum: 2.05 * (1 + momentum) / max(curvatures), "with a rate of 0.1845 momentum is at"),
        (lambda curvatures, momentum: 2 * (1 - momentum) / max(curvatures), "with a rate of 0.02 plain descent"),
        (lambda curvatures, momentum: -1, "the rate is -1; a learning rate is a finite number above 0"),
        (lambda curvatures, momentum: float("nan"), "the rate is nan"),
        (lambda curvatures, momentum: [0.1], "is a list; expected a number"),
    ],
    "penalty": [
        (lambda params, weight_decay: weight_decay * sum(p.square().sum() for p in params),
         "which wants a half before it"),
        (lambda params, weight_decay: weight_decay * sum(p.square().sum() for p in params).sqrt(),
         "the length of the weights is not squared"),
        (lambda params, weight_decay: weight_decay * sum(p.abs().sum() for p in params),
         "this is the absolute value of the weights"),
        (lambda params, weight_decay: half_of_squares(matrices(params), weight_decay),
         "for parameters [30, 784] and [30] and [10, 30] and [10] and weight_decay 0.01: parameter 1"),
        (lambda params, weight_decay: weight_decay / 2 * torch.tensor(sum(p.square().sum().item() for p in params)),
         "the result has no gradient"),
        (lambda params, weight_decay: half_of_squares(params, weight_decay).item(),
         "the result is a float; expected a tensor float32 []"),
        (read_twice, "the result is the number 0, a sum over no parameter"),
        (lambda params, weight_decay: half_of_squares(params, -weight_decay), "it grows instead of shrinking"),
        (lambda params, weight_decay: weight_decay / 2 * sum(p.square().mean() for p in params),
         "the squares are to be added up, not averaged"),
    ],
    "clip_gradients": [
        (each_by_its_own, "each gradient is clipped by its own norm"),
        (by_value, "each number is clipped, which turns the direction"),
        (always, "and max_norm 10: gradient 0 at [0] is 4; expected 2: what is short enough stays"),
        (nan_at_zero, "0 divided by 0"),
        (norm_after, "expected 5, the norm from before the clipping"),
        (nothing_returned, "what it returns is None; expected a number"),
        (new_tensors, "nothing is clipped: either params, which may be a generator, is read twice, or a new "
         "tensor is made and p.grad is still the old one"),
        (none_forgotten, "None and [[2], [4]] and max_norm 1: none_forgotten raises AttributeError"),
        (clip_by(lambda gs: sum(g.norm() for g in gs)), "the norms add up by their squares"),
        (clip_by(lambda gs: sum(g.square().sum() for g in gs)), "the sum of the squares wants its root"),
        (clip_by(lambda gs: max(g.abs().max() for g in gs)), "this goes by the largest number"),
        (clip_grad_norm_, "it uses torch's clipping"),
    ],
    "momentum": [
        (moving(no_memory), "this is a step without momentum"),
        (moving(dampened), "the gradient goes in whole, not with the share 1 - momentum"),
        (moving(rate_in_velocity), "the rate belongs to the step"),
        (moving(look_ahead), "this is Nesterov's form"),
        (moving(climbs), "it climbs"),
        (OneVelocity, "three parameters, after step 1: your OneVelocity raises RuntimeError"),
        (NotAList, "keeps params as they are given, which may be a generator"),
        (NoneForgotten, "has no gradient, after step 1: your NoneForgotten raises TypeError"),
        (FadesMeanwhile, "no gradient, after step 5: parameter 1 moves in a step in which it has no gradient"),
        (Aliased, "is what you remember the gradient itself? clone it"),
        (KeyedByShape, "three parameters of one shape, the first at times without a gradient, after step 1"),
        (ByPosition, "three parameters of one shape, the first at times without a gradient, after step 2"),
        (BorrowedStep, "the step of BorrowedStep is that of SGD"),
        (behind_a_function, "Behind is made of mnist_walkthrough.optimizer.SGD"),
        (InTheGradient, "the gradient of parameter 0 is changed"),
        (NoZeroGrad, "zero_grad leaves gradients that are not 0"),
        (Graph, "a leaf Variable that requires grad is being used in an in-place operation"),
        (FixedRate, "the rate of the beginning counts; lr is read at each step"),
        (Wrapped, "it uses a library's optimizer"),
        (type("Momentum", (SGD,), {}), "Momentum is made of mnist_walkthrough.optimizer.SGD"),
    ],
    "nesterov": [
        (moving(plain), "this is plain momentum"),
        (moving(no_memory), "this is a step without momentum"),
        (moving(whole_velocity), "it wants momentum before it"),
        (moving(without_gradient), "the gradient itself is missing"),
        (moving(twice), "counts the past twice"),
        (moving(nesterov_rate_in_velocity), "the rate belongs to the step"),
        (WrappedTorch, "it uses a library's optimizer"),
        (nesterovs(KeyedByShape), "three parameters of one shape"),
        (nesterovs(ByPosition), "without a gradient, after step 2"),
    ],
    "adam": [
        (adam(corrections=lambda self, t: (1, 1)), "the means start at 0 and are not corrected"),
        (adam(direction=lambda self, m, s, c1, c2: m / c1 / (s.sqrt() + self.eps)),
         "the mean of the squares is not corrected"),
        (adam(direction=lambda self, m, s, c1, c2: m / ((s / c2).sqrt() + self.eps)),
         "the mean of the gradients is not corrected"),
        (adam(direction=lambda self, m, s, c1, c2: m / c1 / (s / c2 + self.eps)),
         "the root of the mean of the squares is missing"),
        (adam(direction=lambda self, m, s, c1, c2: m / c1 / (s / c2 + self.eps).sqrt()),
         "eps is added after the root"),
        (adam(squared=lambda self, g: g.abs()), "with lr=0.1, betas=(0.9, 0.999), eps=0.01 and one parameter"),
        (Exchanged, "the two betas are exchanged"),
        (OneCorrection, "the corrections are 1 - beta in each step"),
        (Stored, "the corrected means are kept"),
        (Whole, "the new goes in whole, not with the share 1 - beta"),
        (adam(direction=lambda self, *means: -Adam.direction(self, *means)), "it climbs"),
        (adam(direction=lambda self, m, s, c1, c2: m / c1 / (s / c2).sqrt()), "eps is missing"),
        (AdamByShape, "three parameters of one shape"),
        (CountsParameters, "the count of steps goes up with each parameter"),
        (CountsAllSteps, "a step in which a parameter has no gradient does not count"),
        (CountsFromZero, "counted from 0, the corrections divide 0 by 0"),
        (type("MyAdam", (torch.optim.Adam,), {}), "MyAdam is made of torch.optim.adam.Adam"),
    ],
}  # fmt: skip
