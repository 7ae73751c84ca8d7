"scikit-learn's `MLPClassifier`; a `partial_fit` is an epoch."

import numpy as np
from sklearn.neural_network import MLPClassifier


class Contender:
    def __init__(self, work):
        self.x, self.y = work.x, work.y
        self.model = MLPClassifier(
            [len(work.weights[1])],
            solver="sgd",
            alpha=0,
            momentum=0,
            learning_rate_init=work.lr,
            batch_size=work.batch_size,
        )
        few = slice(work.batch_size)
        self.model.partial_fit(self.x[few], self.y[few], classes=np.arange(10))  # makes coefs_
        for p, w in zip(self.model.coefs_, work.weights[::2], strict=True):
            p[:] = w.T
        for p, w in zip(self.model.intercepts_, work.weights[1::2], strict=True):
            p[:] = w

    def epoch(self):
        self.model.partial_fit(self.x, self.y)

    def weights(self):
        (w1, w2), (b1, b2) = self.model.coefs_, self.model.intercepts_
        return w1.T, b1, w2.T, b2
