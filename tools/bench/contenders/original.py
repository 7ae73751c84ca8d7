"As the original notebook: a dataset that is asked for one digit after the other, stacked to batches."

import torch
from contenders import torch_nn


class Pairs:
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


class Contender(torch_nn.Contender):
    def batches(self):
        pairs = Pairs(self.x, self.y)
        for rows in torch.randperm(len(pairs)).split(self.batch_size):
            xs, ys = zip(*[pairs[i] for i in rows], strict=True)
            yield torch.stack(xs), torch.stack(ys)
