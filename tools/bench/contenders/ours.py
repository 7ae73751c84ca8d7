"Our `Learner` with all own parts; gradients by autograd."

import torch
from contenders.torch_nn import fill

from mnist_walkthrough import SGD, DataLoader, Learner, cross_entropy, mlp


class Contender:
    learner = Learner

    def __init__(self, work):
        (n_hidden, n_in), n_out = work.weights[0].shape, len(work.weights[3])
        net = fill(mlp(n_in, n_hidden, n_out), work.weights)
        pair = torch.from_numpy(work.x), torch.from_numpy(work.y)
        batches = DataLoader(pair, work.batch_size, shuffle=True)
        self.trained = self.learner(
            batches, batches, net, SGD(net.parameters(), work.lr), cross_entropy
        )

    def epoch(self):
        self.trained.train_epoch()

    def weights(self):
        return [p.detach().numpy() for p in self.trained.model.parameters()]
