"Plausible wrong answers to the exercises of stage 6, each with what its check has to say."

import math

import torch


def first(logits, target):
    return (logits.argmax(1) == target).float().mean()


def as_topk_says(logits, target):
    k = min(2, logits.shape[1])
    return (logits.topk(k, 1).indices == target[:, None]).any(1).float().mean()


def always_two(logits, target):
    order = logits.sort(dim=1, descending=True, stable=True).indices
    return (order[:, 0] == target).logical_or(order[:, 1] == target).float().mean()


def by_value(logits, target):
    second = logits.topk(min(2, logits.shape[1]), 1).values[:, -1]
    return (logits.gather(1, target[:, None]).squeeze(1) >= second).float().mean()


def higher_number_first(logits, target):
    order = logits.sort(dim=1, stable=True).indices[:, -2:]
    return (order == target[:, None]).any(1).float().mean()


def per_answer(logits, target):
    order = logits.sort(dim=1, descending=True, stable=True).indices[:, :2]
    return (order == target[:, None]).float().mean()


def counted(logits, target):
    order = logits.sort(dim=1, descending=True, stable=True).indices[:, :2]
    return (order == target[:, None]).sum()


def each_row(logits, target):
    order = logits.sort(dim=1, descending=True, stable=True).indices[:, :2]
    return (order == target[:, None]).any(1).float()


def shares(matrix, precision_axis=0, least=1):
    hits = matrix.diagonal().float()
    precision = hits / matrix.sum(precision_axis).clamp(min=least)
    recall = hits / matrix.sum(1 - precision_axis).clamp(min=least)
    return precision, recall


def harmonic(precision, recall):
    return (2 * precision * recall / (precision + recall)).nan_to_num()


def axes_exchanged(matrix):
    precision, recall = shares(matrix, precision_axis=1)
    return precision, recall, harmonic(precision, recall)


def nothing_of_nothing(matrix):
    precision, recall = shares(matrix, least=0)
    return precision, recall, 2 * precision * recall / (precision + recall)


def f1_of_nothing(matrix):
    precision, recall = shares(matrix)
    return precision, recall, 2 * precision * recall / (precision + recall)


def ordinary_mean(matrix):
    precision, recall = shares(matrix)
    return precision, recall, (precision + recall) / 2


def without_the_two(matrix):
    precision, recall = shares(matrix)
    return precision, recall, harmonic(precision, recall) / 2


def one_for_all(matrix):
    precision, recall = shares(matrix)
    return precision.mean(), recall.mean(), harmonic(precision, recall).mean()


def of_all(matrix):
    hits = matrix.diagonal() / matrix.sum()
    return hits, hits, hits


def recall_nan(matrix):
    precision, recall = shares(matrix)[0], matrix.diagonal() / matrix.sum(1)
    return precision, recall, harmonic(precision, recall)


def means_weigh_the_same(a, b):
    (n_a, mean_a, var_a), (n_b, mean_b, var_b) = a, b
    return n_a + n_b, (mean_a + mean_b) / 2, (var_a + var_b) / 2


def within_alone(a, b):
    (n_a, mean_a, var_a), (n_b, mean_b, var_b) = a, b
    n = n_a + n_b
    return n, (n_a * mean_a + n_b * mean_b) / n, (n_a * var_a + n_b * var_b) / n


def right_unless_empty(a, b):
    (n_a, mean_a, var_a), (n_b, mean_b, var_b) = a, b
    n = n_a + n_b
    between = n_a * n_b * (mean_a - mean_b) ** 2 / n
    return n, (n_a * mean_a + n_b * mean_b) / n, (n_a * var_a + n_b * var_b + between) / n


def by_squares(a, b):
    (n_a, mean_a, var_a), (n_b, mean_b, var_b) = a, b
    n = max(n_a + n_b, 1)
    mean = (n_a * mean_a + n_b * mean_b) / n
    squares = n_a * (var_a + mean_a**2) + n_b * (var_b + mean_b**2)
    return n_a + n_b, mean, squares / n - mean**2


def one_less(a, b):
    n, mean, var = right_unless_empty(a, b)
    return n, mean, var * n / (n - 1)


def deviation(a, b):
    n, mean, var = right_unless_empty(a, b)
    return n, mean, math.sqrt(var)


def variance_of_means(a, b):
    n, mean, _ = right_unless_empty(a, b)
    return n, mean, (a[0] * (a[1] - mean) ** 2 + b[0] * (b[1] - mean) ** 2) / n


def disagreements(a, b):
    return int((a & ~b).sum()), int((~a & b).sum())


def tail(few, n):
    return sum(math.comb(n, i) for i in range(few + 1)) / 2**n


def one_sided(a, b):
    x, y = disagreements(a, b)
    return tail(min(x, y), x + y)


def not_capped(a, b):
    return 2 * one_sided(a, b)


def only_b_better(a, b):
    x, y = disagreements(a, b)
    return min(1.0, 2 * tail(x, x + y))


def different_digits(a, b):
    n, p = len(a), (a.float().mean() + b.float().mean()) / 2
    z = (a.float().mean() - b.float().mean()) / (2 * p * (1 - p) / n).sqrt()
    return torch.special.erfc(z.abs() / math.sqrt(2))


def chi_squared(a, b):
    x, y = disagreements(a, b)
    return math.erfc(math.sqrt((x - y) ** 2 / (x + y) / 2))


def corrected(a, b):
    x, y = disagreements(a, b)
    return math.erfc((abs(x - y) - 1) / math.sqrt(x + y) / math.sqrt(2))


def underflows(a, b):
    x, y = disagreements(a, b)
    few, n = min(x, y), x + y
    return min(1.0, 2 * sum(math.comb(n, i) * 0.5**n for i in range(few + 1)))


def more_lopsided_only(a, b):
    x, y = disagreements(a, b)
    return min(1.0, 2 * tail(min(x, y) - 1, x + y))


def this_count_alone(a, b):
    x, y = disagreements(a, b)
    return min(1.0, 2 * math.comb(x + y, min(x, y)) / 2 ** (x + y))


def this_count_on_one_side(a, b):
    x, y = disagreements(a, b)
    return math.comb(x + y, min(x, y)) / 2 ** (x + y)


def all_right_answers(a, b):
    x, y = int(a.sum()), int(b.sum())
    return min(1.0, 2 * tail(min(x, y), x + y))


def all_digits(a, b):
    return min(1.0, 2 * tail(min(disagreements(a, b)), len(a)))


WRONG = {
    "misleading_batches": [
        ([(90, 100), (90, 100), (0, 100)], "batches of one size may weigh the same"),
        ([(0, 1), (999, 999)], "batch 1 has size 999, the first one 1"),
        ([(256, 256), (256, 256), (256, 256), (0, 232)], "1.8 points apart"),
        (
            [(99, 99)] * 3 + [(0, 1)],
            "24.7 points apart; expected more than 30: of 4 batches each weighs 1/4",
        ),
        ([(0.9, 100), (0.1, 2)], "batch 0 is (0.9, 100)"),
        ([(100, 100), (0, 10), (0, 1)], "batch 1 has size 10, the first one 100"),
        ([(101, 100), (0, 2)], "101 right of 100 cannot be"),
        ([0.9, 0.1], "expected a pair"),
        ([], "it is empty"),
        ([(0, 0)], "batch 0 has size 0; a batch has one row at least"),
    ],
    "top2_accuracy": [
        (first, "the second counts too"),
        (as_topk_says, "expected"),
        (always_two, "raises IndexError"),
        (by_value, "as soon as its logit equals one of the two largest"),
        (higher_number_first, "not that of the higher"),
        (per_answer, "this is half of it"),
        (counted, "this is a count"),
        (each_row, "is a tensor float32 [3]; expected the number"),
    ],
    "precision_recall_f1": [
        (axes_exchanged, "this is the recall"),
        (nothing_of_nothing, "0/0 counts as 0: no answer was this class"),
        (f1_of_nothing, "0/0 counts as 0: precision and recall are both 0"),
        (ordinary_mean, "F1 is the harmonic one"),
        (without_the_two, "has a 2 above the line"),
        (one_for_all, "precision has shape []; expected a tensor float32 [2]"),
        (of_all, "a share of all answers"),
        (recall_nan, "0/0 counts as 0: no example is of this class"),
    ],
    "merge_halves": [
        (means_weigh_the_same, "each half weighs the same, whatever its count"),
        (within_alone, "how far the means lie apart is missing"),
        (right_unless_empty, "for two empty halves: right_unless_empty raises ZeroDivisionError"),
        (by_squares, "whose squares a float cannot tell apart"),
        (one_less, "not by one less"),
        (deviation, "this is the standard deviation"),
        (variance_of_means, "the variance is 6.75; expected 8.75"),
    ],
    "mcnemar": [
        (one_sided, "one side alone"),
        (not_capped, "a probability is at most 1"),
        (only_b_better, "3 digits that both have right, 4 that only A has"),
        (different_digits, "judged on different digits"),
        (chi_squared, "the normal approximation; count exactly"),
        (corrected, "with a correction"),
        (underflows, "raises OverflowError"),
        (more_lopsided_only, "belongs to the sum"),
        (this_count_alone, "this very count; add those of all that are more lopsided"),
        (this_count_on_one_side, "this very count, on one side"),
        (all_right_answers, "what both get right is no toss"),
        (all_digits, "all digits count as tosses"),
    ],
}
