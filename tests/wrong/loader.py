"Plausible wrong answers to the exercises of stage 2, each with what its check has to say."

import random

import torch
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset


class Loader:
    "A right one that the wrong ones change."

    def __init__(self, x, y, batch_size, generator):
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator

    def order(self):
        return torch.rand(len(self.y), generator=self.generator, dtype=torch.float64).argsort()

    def __iter__(self):
        for i in self.order().split(self.batch_size):
            yield self.x[i], self.y[i]

    def __len__(self):
        return -(-len(self.y) // self.batch_size)


class OwnChance(Loader):
    def order(self):
        return torch.rand(len(self.y)).argsort()


class PythonsChance(Loader):
    def order(self):
        order = list(range(len(self.y)))
        random.shuffle(order)
        return torch.tensor(order)


class OneOrder(Loader):
    def __init__(self, *args):
        super().__init__(*args)
        self.fixed = super().order()

    def order(self):
        return self.fixed


class OnePass(Loader):
    def __init__(self, *args):
        super().__init__(*args)
        self.batches = super().__iter__()

    def __iter__(self):
        return self.batches


class Endless(Loader):
    def __iter__(self):
        while True:
            yield from super().__iter__()


class LastDropped(Loader):
    def __iter__(self):
        for i in self.order().split(self.batch_size):
            if len(i) == self.batch_size:
                yield self.x[i], self.y[i]


class LengthRoundedDown(Loader):
    def __len__(self):
        return len(self.y) // self.batch_size


class WithReplacement(Loader):
    def order(self):
        return torch.randint(len(self.y), (len(self.y),), generator=self.generator)


class TwoOrders(Loader):
    def __iter__(self):
        for i, j in zip(
            self.order().split(self.batch_size), self.order().split(self.batch_size), strict=True
        ):
            yield self.x[i], self.y[j]


class InPlace(Loader):
    def __iter__(self):
        order = self.order()
        self.x[:], self.y[:] = self.x[order], self.y[order]
        yield from zip(self.x.split(self.batch_size), self.y.split(self.batch_size), strict=True)


class Swaps(Loader):
    def order(self):
        order = list(range(len(self.y)))
        for i in self.places():
            j = int(torch.randint(*self.others(i), (), generator=self.generator))
            order[i], order[j] = order[j], order[i]
        return torch.tensor(order)

    def places(self):
        return range(len(self.y))

    def others(self, i):
        return 0, len(self.y)


class BackwardSwaps(Swaps):
    def places(self):
        return range(len(self.y) - 1, -1, -1)


class NeverInPlace(Swaps):
    def places(self):
        return range(len(self.y) - 1, 0, -1)

    def others(self, i):
        return 0, i


class Rotated(Loader):
    def order(self):
        n = len(self.y)
        return torch.arange(n).roll(int(torch.randint(n, (), generator=self.generator)))


class Neighbours(Loader):
    "Fair for a few rows, for of many it swaps neighbours only."

    def order(self):
        order = list(range(len(self.y)))
        for _ in range(6):
            for i in range(len(order) - 1):
                if torch.rand((), generator=self.generator) < 0.5:
                    order[i], order[i + 1] = order[i + 1], order[i]
        return super().order() if len(order) < 5 else torch.tensor(order)


class Ties(Loader):
    def order(self):
        keys = torch.randint(2 * len(self.y), (len(self.y),), generator=self.generator)
        return keys.argsort(stable=True)


def torchs_loader(x, y, batch_size, generator):
    return TorchLoader(TensorDataset(x, y), batch_size, shuffle=True, generator=generator)


def weighted(weight, replacement=True):
    def balanced_rows(y, n, generator):
        weights = weight(torch.bincount(y).double())[y]
        return torch.multinomial(weights, n, replacement=replacement, generator=generator)

    return balanced_rows


def classes_not_rows(y, n, generator):
    classes = y.unique()
    return classes[torch.randint(len(classes), (n,), generator=generator)]


def first_row_of_class(y, n, generator):
    classes = y.unique()
    drawn = torch.randint(len(classes), (n,), generator=generator)
    return torch.stack([(y == classes[c]).nonzero()[0, 0] for c in drawn])


def in_turn(y, n, generator):
    classes = y.unique()
    rows = [(y == classes[k % len(classes)]).nonzero().flatten() for k in range(n)]
    return torch.stack([r[torch.randint(len(r), (), generator=generator)] for r in rows])


def split_of_all(y, share, generator):
    rows = torch.randperm(len(y), generator=generator)
    n_valid = round(share * len(y))
    return rows[n_valid:], rows[:n_valid]


def split(
    order, cut=lambda rows, n: (rows[n:], rows[:n]), n_valid=lambda share, n: round(share * n)
):
    "A split, class by class, with one thing about it changed."

    def split_by_class(y, share, generator):
        parts = []
        for c in y.unique():
            rows = (y == c).nonzero().flatten()
            rows = rows[order(len(rows), generator)]
            parts.append(cut(rows, n_valid(share, len(rows))))
        return tuple(map(torch.cat, zip(*parts, strict=True)))

    return split_by_class


def drawn_order(n, generator):
    return torch.randperm(n, generator=generator)


def positions(y, share, generator):
    parts = []
    for c in y.unique():
        order = torch.randperm(int((y == c).sum()), generator=generator)
        n = round(share * len(order))
        parts.append((order[n:], order[:n]))
    return tuple(map(torch.cat, zip(*parts, strict=True)))


def chance_of_each(y, share, generator):
    held = torch.rand(len(y), generator=generator) < share
    return (~held).nonzero().flatten(), held.nonzero().flatten()


def standardising(mean, std):
    def standardise(train_x, valid_x):
        m, s = mean(train_x, valid_x), std(train_x, valid_x)
        return (train_x - m) / s, (valid_x - m) / s

    return standardise


def each_its_own(train_x, valid_x):
    return tuple((x - x.mean()) / x.std() for x in (train_x, valid_x))


def taken_after(train_x, valid_x):
    train_x = (train_x - train_x.mean()) / train_x.std()
    return train_x, (valid_x - train_x.mean()) / train_x.std()


def in_place(train_x, valid_x):
    mean, std = train_x.mean(), train_x.std()
    return train_x.sub_(mean).div_(std), valid_x.sub_(mean).div_(std)


WRONG = {
    "wasteful_batch_size": [
        (lambda n: n // 2, "for 1000 rows: batches of 500 leave out 0; 499 can be left out"),
        (lambda n: n - 1, "batches of 999 leave out 1"),
        (lambda n: n + 1, "with a batch size of 1001 there is no batch at all"),
        (lambda n: 501, "for 1 row: with a batch size of 501"),
        (lambda n: n / 2 + 1, "the batch size is a float"),
        (lambda n: n // 2 - 1, "batches of 499 leave out 2"),
        (lambda n: max(2, n // 2 + 1), "for 1 row: with a batch size of 2 "),
    ],
    "shuffling_loader": [
        (torchs_loader, "it calls torch.randperm"),
        (OwnChance, "two generators of the same seed give different orders"),
        (PythonsChance, "it calls random.shuffle"),
        (OneOrder, "draw a new one"),
        (OnePass, "second epoch: there are no batches"),
        (Endless, "the batches have 4, 4, 2, 4"),
        (LastDropped, "the smaller last batch is kept"),
        (LengthRoundedDown, "its length is 2; expected 3"),
        (WithReplacement, "comes more than once, and row"),
        (TwoOrders, "comes with the image of row"),
        (InPlace, "the loader changes the x or the y"),
        (Swaps, "not with any place"),
        (BackwardSwaps, "swap each place with one that has not had its turn"),
        (NeverInPlace, "no row ever stays in its place"),
        (Rotated, "never comes"),
        (Ties, "as often as any other"),
        (Neighbours, "as any other two"),
    ],
    "balanced_rows": [
        (weighted(lambda counts: 0 * counts + 1), "every row is equally likely"),
        (weighted(lambda counts: counts), "a row's weight is the size of its class"),
        (
            weighted(lambda counts: 1 / counts, replacement=False),
            "cannot sample n_sample > prob_dist.size(-1) samples without replacement",
        ),
        (weighted(lambda counts: 1 / counts.sqrt()), "expected about 3000 of each"),
        (classes_not_rows, "of these classes; expected about 3000 of each"),
        (first_row_of_class, "as any of the 90 rows of class 0"),
        (in_turn, "with 2000 generators one after the other: of 2000 draws 0, 2000 are of"),
        (
            lambda y, n, generator: torch.empty(n, dtype=torch.int64, device="meta"),
            "is a tensor without its numbers",
        ),
        (
            lambda y, n, generator: weighted(lambda counts: 1 / counts)(y, n, None),
            "two generators of the same seed give different rows",
        ),
        (
            lambda y, n, generator: weighted(lambda counts: 1 / counts)(
                y, n, torch.Generator().manual_seed(0)
            ),
            "generators with the seeds 0, 1 and 2 give the same rows",
        ),
    ],
    "split_by_class": [
        (split_of_all, "3 of the 20 rows of class 2 are in valid_rows; expected 4"),
        (chance_of_each, "6 of the 20 rows of class 0 are in valid_rows"),
        (
            split(lambda n, generator: torch.arange(n)),
            "generators with the seeds 0, 1 and 2 give the same splits",
        ),
        (split(lambda n, generator: torch.randperm(n)), "let `generator` alone decide"),
        (split(drawn_order, lambda rows, n: (rows, rows[:n])), "are in both parts"),
        (split(drawn_order, lambda rows, n: (rows[n + 1 :], rows[:n])), "are in neither part"),
        (split(drawn_order, lambda rows, n: (rows[:n], rows[n:])), "16 of the 20 rows of class 0"),
        (
            split(lambda n, generator: torch.randint(n, (n,), generator=generator)),
            "comes more than once in train_rows",
        ),
        (positions, "row 7 comes more than once in train_rows"),
        (split(drawn_order, n_valid=lambda share, n: int(share * n) + 1), "5 of the 20 rows"),
    ],
    "standardise": [
        (each_its_own, "it has its own mean and deviation"),
        (
            standardising(lambda t, v: t.mean(), lambda t, v: t.std() + 1e-5),
            "float64: train at [0, 0] is 0.0482807; expected 0.0482809: 1e-05 is added",
        ),
        (
            standardising(lambda t, v: t.mean(), lambda t, v: t.std(correction=0)),
            "this deviation divides by n; `Tensor.std` divides by n - 1",
        ),
        (taken_after, "mean and deviation were taken after the training rows had been replaced"),
        (lambda t, v: (t.to("meta"), v), "train is a tensor without its numbers"),
        (
            standardising(
                lambda t, v: torch.cat([t, v]).mean(), lambda t, v: torch.cat([t, v]).std()
            ),
            "the validation rows have a part in mean and deviation",
        ),
        (
            standardising(lambda t, v: t.mean(0), lambda t, v: t.std(0)),
            "each column has its own mean and deviation",
        ),
        (standardising(lambda t, v: t.mean(), lambda t, v: t.var()), "divided by the variance"),
        (standardising(lambda t, v: t.mean(), lambda t, v: 1), "but nothing divided"),
        (in_place, "changes a tensor that it is given"),
    ],
}
