"miniai's `TrainLearner`, the one of fast.ai's course of 2022, over torch's `DataLoader`."

import torch
from contenders.torch_nn import torch_net
from miniai.datasets import DataLoaders
from miniai.learner import TrainLearner
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


class Contender:
    def __init__(self, work):
        dataset = TensorDataset(torch.from_numpy(work.x), torch.from_numpy(work.y))
        batches = DataLoader(dataset, work.batch_size, shuffle=True)
        self.net = torch_net(work.weights)
        self.learner = TrainLearner(
            self.net, DataLoaders(batches, batches), cross_entropy, lr=work.lr
        )

    def epoch(self):
        self.learner.fit(1, valid=False)

    def weights(self):
        return [p.detach().numpy() for p in self.net.parameters()]
