"Plausible wrong answers to the exercises of stage 5, each with what its check has to say."

import torch
from torch.nn import functional as F


def pair(*logits, target):
    return torch.tensor([logits]), torch.tensor([target])


def log_softmax(z):
    return z.log_softmax(1)


def picked(z, y):
    return -log_softmax(z).gather(1, y[:, None]).squeeze(1)


def naive_logsumexp(z):
    return z.exp().sum(1).log()


def maximum_stays_off(z):
    return (z - z.max(1, keepdim=True).values).exp().sum(1).log()


def maximum_of_all(z):
    return (z - z.max()).exp().sum(1).log() + z.max()


def column(z):
    m = z.max(1, keepdim=True).values
    return (z - m).exp().sum(1, keepdim=True).log() + m


def not_for_minus_infinity(z):
    m = z.max(1).values
    return (z - m[:, None]).exp().sum(1).log() + m


def over_the_batch(z):
    m = z.max(0).values
    return (z - m).exp().sum(0).log() + m


def others_share(z, y, eps):
    k = z.shape[1]
    q = F.one_hot(y, k) * (1 - eps) + (1 - F.one_hot(y, k)) * eps / (k - 1)
    return -(q * log_softmax(z)).sum(1).mean()


def right_class_without_share(z, y, eps):
    k = z.shape[1]
    q = F.one_hot(y, k) * (1 - eps) + (1 - F.one_hot(y, k)) * eps / k
    return -(q * log_softmax(z)).sum(1).mean()


def undivided(z, y, eps):
    return (1 - eps) * picked(z, y).mean() - eps * log_softmax(z).sum(1).mean()


def mean_of_all_entries(z, y, eps):
    q = F.one_hot(y, z.shape[1]) * (1 - eps) + eps / z.shape[1]
    return -(q * log_softmax(z)).mean()


def eps_exchanged(z, y, eps):
    return eps * picked(z, y).mean() - (1 - eps) * log_softmax(z).mean()


def added_on_top(z, y, eps):
    return picked(z, y).mean() - eps * log_softmax(z).mean()


def smoothing_forgotten(z, y, eps):
    return picked(z, y).mean()


def divergence(z, y, eps):
    q = F.one_hot(y, z.shape[1]) * (1 - eps) + eps / z.shape[1]
    return F.kl_div(log_softmax(z), q, reduction="batchmean")


def naive_smoothing(z, y, eps):
    q = F.one_hot(y, z.shape[1]) * (1 - eps) + eps / z.shape[1]
    return -(q * (z.exp() / z.exp().sum(1, keepdim=True)).log()).sum(1).mean()


def smoothing_added_up(z, y, eps):
    q = F.one_hot(y, z.shape[1]) * (1 - eps) + eps / z.shape[1]
    return -(q * log_softmax(z)).sum()


def a_float(z, y, eps):
    q = F.one_hot(y, z.shape[1]) * (1 - eps) + eps / z.shape[1]
    return -(q * log_softmax(z)).sum(1).mean().item()


def by_cross_entropys_engine(z, y, eps):
    return torch._C._nn.cross_entropy_loss(z, y, None, 1, -100, eps)


def cut_off(z, y, eps):
    q = F.one_hot(y, z.shape[1]) * (1 - eps) + eps / z.shape[1]
    return -(q * log_softmax(z.detach())).sum(1).mean()


def mean_of_rows(z, y, weight):
    return (weight[y] * picked(z, y)).mean()


def over_all_weights(z, y, weight):
    return (weight[y] * picked(z, y)).sum() / weight.sum()


def weights_added_up(z, y, weight):
    return (weight[y] * picked(z, y)).sum()


def weights_on_logits(z, y, weight):
    return picked(z * weight, y).mean()


def weights_forgotten(z, y, weight):
    return picked(z, y).mean()


def weights_by_row(z, y, weight):
    return (weight * picked(z, y)).sum() / weight.sum()


def naive_weighted(z, y, weight):
    p = z.exp() / z.exp().sum(1, keepdim=True)
    losses = -p.gather(1, y[:, None]).squeeze(1).log()
    return (weight[y] * losses).sum() / weight[y].sum()


def nll_engine(z, y, weight):
    return torch._C._nn.nll_loss_nd(log_softmax(z), y, weight, 1)


def both_branches(z, y):
    plain, turned = (-z).exp().log1p(), z.exp().log1p() - z
    return (torch.where(z > 0, plain, turned) + (1 - y) * z).mean()


def log_of_sigmoid(z, y):
    p = z.sigmoid()
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def kept_above(z, y):
    p = z.sigmoid().clamp(1e-7, 1 - 1e-7)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def as_the_library_without_logits(z, y):
    return F.binary_cross_entropy(z.sigmoid(), y)


def exp_overflows(z, y):
    return (z.exp().log1p() - z * y).mean()


def yes_only(z, y):
    return (y * ((-z.abs()).exp().log1p() + (-z).clamp(min=0))).mean()


def kink_of_clamp(z, y):
    return (z.clamp(min=0) - z * y + (-z.abs()).exp().log1p()).mean()


def kink_of_relu(z, y):
    return (z.relu() - z * y + (-z.abs()).exp().log1p()).mean()


def sum_of_two(z, y):
    log_p = log_softmax(torch.stack([torch.zeros_like(z), z], 1))
    return -(y * log_p[:, 1] + (1 - y) * log_p[:, 0]).sum()


def yes_and_no_exchanged(z, y):
    log_p = log_softmax(torch.stack([z, torch.zeros_like(z)], 1))
    return -(y * log_p[:, 1] + (1 - y) * log_p[:, 0]).mean()


WRONG = {
    "nan_gradient": [
        (pair(100.0, 0.0, target=0), "the largest logit in size is 100"),
        (pair(60.0, -60.0, target=1), "the naive loss is inf"),
        (pair(60.0, -40.0, target=0), "the smallest probability is 3.8e-44"),
        (pair(torch.nan, 0.0, target=0), "the largest logit in size is nan"),
        (pair(60.0, -60.0, target=2), "expected a class for each row"),
        (torch.tensor([60.0, -60.0]), "give a pair"),
        ((torch.tensor([60, -60]), torch.tensor([0])), "logits is a tensor int64 [2]"),
        (
            (torch.empty(1, 2, device="meta"), torch.tensor([0])),
            "logits is a tensor without its numbers",
        ),
        (
            (torch.nn.Parameter(torch.zeros(1, 2)), torch.tensor([0])),
            "the smallest probability is 0.5",
        ),
    ],
    "logsumexp": [
        (naive_logsumexp, "take each row's maximum off first"),
        (maximum_stays_off, "has to be added to the logarithm again"),
        (maximum_of_all, "each row needs its own maximum"),
        (column, "has shape [1, 1]; expected a tensor float32 [1]"),
        (not_for_minus_infinity, "-inf - (-inf) is NaN"),
        (over_the_batch, "has shape [3]; expected a tensor float32 [1]"),
        (lambda z: torch.empty(len(z), device="meta"), "is a tensor without its numbers"),
        (lambda z: torch.logsumexp(z, 1), "calls torch.logsumexp"),
    ],
    "label_smoothing": [
        (others_share, "the other variant, eps / (n_classes - 1)"),
        (right_class_without_share, "does not sum to 1"),
        (undivided, "undivided"),
        (mean_of_all_entries, "the mean was taken over all entries"),
        (eps_exchanged, "have changed places"),
        (added_on_top, "nothing was taken from the right class"),
        (smoothing_forgotten, "the loss without smoothing"),
        (divergence, "the Kullback-Leibler divergence"),
        (naive_smoothing, "use log_softmax"),
        (smoothing_added_up, "the losses of the rows added up"),
        (a_float, "is a float; expected a tensor float32 []"),
        (cut_off, "autograd cannot go back"),
        (by_cross_entropys_engine, "cross_entropy_loss"),
        (lambda z, y, eps: z.new_zeros(()).to_sparse(), "or a sparse one"),
        (
            lambda z, y, eps: F.cross_entropy(z, y, label_smoothing=eps),
            "calls torch.nn.functional.cross_entropy",
        ),
    ],
    "weighted_cross_entropy": [
        (mean_of_rows, "divided by the number of rows"),
        (over_all_weights, "divided by the weights of all classes"),
        (weights_added_up, "not divided by the weights"),
        (weights_on_logits, "weigh the losses"),
        (weights_forgotten, "the loss without weights"),
        (weights_by_row, "the result is 0.766678; expected 1.22009"),
        (naive_weighted, "use log_softmax"),
        (nll_engine, "nll_loss_nd"),
        (
            lambda z, y, weight: F.nll_loss(log_softmax(z), y, weight),
            "calls torch.nn.functional.nll_loss",
        ),
    ],
    "binary_cross_entropy": [
        (log_of_sigmoid, "for logits [-200.0] and target [1.0]: the result is inf"),
        (kept_above, "a probability is kept above 1e-07"),
        (as_the_library_without_logits, "a probability is kept above 3.7e-44"),
        (both_branches, "torch.where computes both branches, and 0 times infinity is NaN"),
        (exp_overflows, "for logits [200.0] and target [0.0]: the result is inf"),
        (yes_only, "the part of 1 - target is missing"),
        (kink_of_clamp, "clamp has a kink at 0"),
        (kink_of_relu, "relu has a kink at 0"),
        (sum_of_two, "the losses added up"),
        (yes_and_no_exchanged, "have changed places"),
        (F.binary_cross_entropy_with_logits, "which is what you are to write"),
    ],
}
