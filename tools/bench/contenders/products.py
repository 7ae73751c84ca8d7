"The five matrix products of each step, and nothing else: no shuffling, no bias, no loss, no step."

import torch


class Contender:
    def __init__(self, work):
        self.batches = torch.from_numpy(work.x).split(work.batch_size)
        self.w1, _, self.w2, _ = map(torch.from_numpy, work.weights)
        self.delta = torch.randn(work.batch_size, len(self.w2))

    def epoch(self):
        for xb in self.batches:
            hidden = torch.mm(xb, self.w1.T)
            torch.mm(hidden, self.w2.T)
            delta = self.delta[: len(xb)]
            torch.mm(delta.T, hidden)
            torch.mm(torch.mm(delta, self.w2).T, xb)
