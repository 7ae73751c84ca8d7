"Plausible wrong answers to the exercises of stage 10, inspect, each with what its check has to say."

import copy
import math

import torch


def sure(ranking):
    def accuracy_when_sure(logits, target, keep):
        rows = ranking(logits).topk(max(1, round(keep * len(logits)))).indices
        return (logits[rows].argmax(1) == target[rows]).float().mean()

    return accuracy_when_sure


def confidence(logits):
    return logits.softmax(1).amax(1)


def by_all_rows(logits, target, keep):
    rows = confidence(logits).topk(max(1, round(keep * len(logits)))).indices
    return (logits[rows].argmax(1) == target[rows]).float().sum() / len(logits)


def rounded_down(logits, target, keep):
    rows = confidence(logits).topk(max(1, int(keep * len(logits)))).indices
    return (logits[rows].argmax(1) == target[rows]).float().mean()


def rounded_up(logits, target, keep):
    rows = confidence(logits).topk(math.ceil(keep * len(logits))).indices
    return (logits[rows].argmax(1) == target[rows]).float().mean()


def by_true_class(logits, target, keep):
    p = logits.softmax(1)[torch.arange(len(logits)), target]
    rows = p.topk(max(1, round(keep * len(logits)))).indices
    return (logits[rows].argmax(1) == target[rows]).float().mean()


def none_kept(logits, target, keep):
    rows = confidence(logits).topk(round(keep * len(logits))).indices
    return (logits[rows].argmax(1) == target[rows]).float().mean()


def threshold(logits, target, keep):
    rows = confidence(logits) >= keep
    return (logits[rows].argmax(1) == target[rows]).float().mean()


def all_rows(logits, target, keep):
    return (logits.argmax(1) == target).float().mean()


def occluding(sign=1, transposed=False, ink=0.0, restored=True):
    def occlusion(model, x, k):
        result = torch.zeros(len(x), 7, 7, dtype=x.dtype)
        with torch.no_grad():
            before = model(x)[:, k]
            covered = x.clone().view(-1, 28, 28)
            for i in range(7):
                for j in range(7):
                    if restored:
                        covered = x.clone().view(-1, 28, 28)
                    a, b = (j, i) if transposed else (i, j)
                    covered[:, 4 * a : 4 * a + 4, 4 * b : 4 * b + 4] = ink
                    result[:, i, j] = sign * (before - model(covered.view(-1, 784))[:, k])
        return result

    return occlusion


def in_place(model, x, k):
    with torch.no_grad():
        before = model(x)[:, k]
        result = torch.zeros(len(x), 7, 7, dtype=x.dtype)
        for i in range(7):
            for j in range(7):
                x.view(-1, 28, 28)[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4] = 0
                result[:, i, j] = before - model(x)[:, k]
    return result


def by_gradient(times_input):
    def occlusion(model, x, k):
        x = x.clone().requires_grad_()
        (grad,) = torch.autograd.grad(model(x)[:, k].sum(), x)
        terms = (grad * x if times_input else grad).detach()
        return terms.view(-1, 7, 4, 7, 4).sum((2, 4))

    return occlusion


def of_probability(model, x, k):
    return occluding()(lambda images: model(images).softmax(1), x, k)


def one_image(model, x, k):
    return occluding()(model, x, k)[0]


def float32_only(model, x, k):
    return occluding()(model, x, k).float()


@torch.no_grad()
def scaled(model, first=2.0, bias=2.0, second=0.5):
    other = copy.deepcopy(model)
    other[0].weight.mul_(first)
    other[0].bias.mul_(bias)
    other[2].weight.mul_(second)
    return other


def reordered(model):
    other = copy.deepcopy(model)
    with torch.no_grad():
        other[0].weight.copy_(model[0].weight.flip(0))
        other[0].bias.copy_(model[0].bias.flip(0))
        other[2].weight.copy_(model[2].weight.flip(1))
    return other


@torch.no_grad()
def changed(model):
    model[0].weight.mul_(2)
    model[0].bias.mul_(2)
    model[2].weight.div_(2)
    return model


def convincing(n_steps=50, step=0.05, clamped=True, sign=1, k=None):
    def convince(model, wanted):
        image = torch.full((1, 784), 0.5)
        for _ in range(n_steps):
            image.requires_grad_()
            score = model(image).log_softmax(1)[0, wanted if k is None else k]
            (grad,) = torch.autograd.grad(score, image)
            image = (image + sign * step * grad.sign()).detach()
            image = image.clamp(0, 1) if clamped else image
        return image[0]

    return convince


def training_the_net(model, k):
    image = torch.full((784,), 0.5)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(100):
        loss = -model(image[None]).log_softmax(1)[0, k]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return image


WRONG = {
    "accuracy_when_sure": [
        (all_rows, "this is the accuracy of all rows"),
        (sure(lambda logits: logits.amax(1)), "largest logit, which is no confidence"),
        (sure(lambda logits: -confidence(logits)), "the accuracy of the least sure"),
        (by_all_rows, "divides by all rows, not by those that are kept"),
        (rounded_down, "this keeps int(keep * n) rows"),
        (rounded_up, "this keeps ceil(keep * n) rows"),
        (by_true_class, "ranks by the probability of the true class"),
        (none_kept, "0.62 wrong): the result is nan"),
        (threshold, "the rows with a confidence of `keep` or more, however many"),
    ],
    "occlusion": [
        (occluding(sign=-1), "a fall is positive"),
        (occluding(transposed=True), "rows and columns are exchanged"),
        (occluding(ink=1.0), "the square is white; 0 is black"),
        (occluding(restored=False), "what was covered before is still covered"),
        (by_gradient(times_input=False), "the sum of the gradient over the square"),
        (by_gradient(times_input=True), "the sum of gradient times input over the square"),
        (of_probability, "how much the probability falls, not the logit"),
        (in_place, "changes a tensor that it is given"),
        (one_image, "for 1 image, class 0, float32: the result has shape [7, 7]"),
        (float32_only, "for 2 images, class 9, float64: the result is float32"),
    ],
    "twin": [
        (copy.deepcopy, "0.weight[0, 0] is -0.03069, as in the model"),
        (lambda model: scaled(model, 1.001, 1.001, 1 / 1.001), "most of 0.weight is within"),
        (reordered, "for mlp(3, 1, 2): 0.weight[0, 0]"),
        (lambda model: scaled(model, bias=1.0), "0.bias[0] is"),
        (lambda model: scaled(model, second=1.0), "2.weight[0, 0] is"),
        (lambda model: scaled(model, second=2.0), "a logit from its weights"),
        (lambda model: scaled(model, -1.0, -1.0, -1.0), "for mlp(5, 4, 3): a logit from its"),
        (changed, "the model that is given changes"),
        (lambda model: model.state_dict(), "expected a net"),
    ],
    "convince": [
        (convincing(n_steps=1), "for net 1, mlp(784, 30, 10), and class"),
        (training_the_net, "it changes the net; the image is to do it"),
        (convincing(clamped=False), "expected 0 to 1"),
        (convincing(sign=-1), "for net 1, mlp(784, 30, 10), and class 0: its probability is"),
        (convincing(k=0), "and class 1: its probability is"),
        (lambda model, k: convincing()(model, k)[None], "expected a tensor float32 [784]"),
        (lambda model, k: convincing()(model, k).round().long(), "a tensor int64 [784]"),
    ],
}
