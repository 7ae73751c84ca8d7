"torch's own parts, each batch taken from one tensor by its row numbers: what all are compared with."

import torch
from torch import nn
from torch.nn.functional import cross_entropy


def fill(net, weights):
    "A net with these weights."
    with torch.no_grad():
        for p, w in zip(net.parameters(), weights, strict=True):
            p.copy_(torch.from_numpy(w))
    return net


def torch_net(weights):
    "The net in torch's layers, with these weights."
    (n_hidden, n_in), n_out = weights[0].shape, len(weights[3])
    net = nn.Sequential(nn.Linear(n_in, n_hidden), nn.ReLU(), nn.Linear(n_hidden, n_out))
    return fill(net, weights)


class Contender:
    def __init__(self, work):
        self.x, self.y = torch.from_numpy(work.x), torch.from_numpy(work.y)
        self.batch_size, self.net = work.batch_size, torch_net(work.weights)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=work.lr)

    def batches(self):
        for rows in torch.randperm(len(self.y)).split(self.batch_size):
            yield self.x[rows], self.y[rows]

    def epoch(self):
        for xb, yb in self.batches():
            self.optimizer.zero_grad()
            cross_entropy(self.net(xb), yb).backward()
            self.optimizer.step()

    def weights(self):
        return [p.detach().numpy() for p in self.net.parameters()]
