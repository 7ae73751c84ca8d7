"Plausible wrong answers to the exercises of stage 3, each with what its check has to say."

import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(n_out, n_in))
        self.bias = nn.Parameter(torch.randn(n_out))

    def forward(self, x):
        return x @ self.weight.T + self.bias


class BiasOfABatch(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        self.bias = nn.Parameter(torch.zeros(1, n_out))


class NotRegistered(Linear):
    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out)
        del self.bias
        self.bias = torch.zeros(n_out)


class NoBias(Linear):
    def forward(self, x):
        return x @ self.weight.T


WRONG = {
    "linear": [
        (BiasOfABatch, "its parameters have shapes [[1, 3], [3, 5]]"),
        (NotRegistered, "its parameters have shapes [[3, 5]]"),
        (NoBias, "the result at [0, 0] is"),
        (nn.Linear, "calls torch.nn.functional.linear"),
    ]
}
