"fastai's `Learner` over its own `DataLoader`, from tensors in memory."

import contenders.torchvision_on_cpu  # noqa: F401
import torch
from contenders.torch_nn import torch_net
from fastai.callback.core import Callback, CancelValidException
from fastai.data.core import DataLoaders
from fastai.data.load import DataLoader
from fastai.learner import Learner
from fastai.optimizer import SGD
from torch.nn.functional import cross_entropy


class NoValidation(Callback):
    def before_validate(self):
        raise CancelValidException


class Contender:
    def __init__(self, work):
        self.net = torch_net(work.weights)
        batches = self.batches(work)
        self.learner = Learner(
            DataLoaders(batches, batches),
            self.net,
            loss_func=cross_entropy,
            lr=work.lr,
            opt_func=SGD,
            cbs=NoValidation,
        )

    def batches(self, work):
        pairs = list(zip(torch.from_numpy(work.x), torch.from_numpy(work.y), strict=True))
        return DataLoader(pairs, bs=work.batch_size, shuffle=True)

    def epoch(self):
        with self.learner.no_logging():
            self.learner.fit(1)

    def weights(self):
        return [p.detach().numpy() for p in self.net.parameters()]
