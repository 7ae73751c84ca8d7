"From a folder of PNG digits to a trained classifier, every part written from basic PyTorch operations."

__version__ = "0.1.0"

import mnist_walkthrough.accuracy  # noqa: F401  first, or it takes the place of the function
from mnist_walkthrough.data import ImageDataset, decode_png, digits, mnist, show_images
from mnist_walkthrough.learner import (
    Callback,
    EarlyStop,
    Learner,
    Recorder,
    StopOnNonFinite,
    plot_history,
)
from mnist_walkthrough.loader import DataLoader
from mnist_walkthrough.loss import cross_entropy, find_nonfinite, log_softmax, nll_loss
from mnist_walkthrough.metric import (
    Mean,
    accuracy,
    binomial_interval,
    confusion_matrix,
    show_confusion,
)
from mnist_walkthrough.net import Linear, ReLU, Sequential, mlp
from mnist_walkthrough.optimizer import SGD

__all__ = [
    "SGD",
    "Callback",
    "DataLoader",
    "EarlyStop",
    "ImageDataset",
    "Learner",
    "Linear",
    "Mean",
    "ReLU",
    "Recorder",
    "Sequential",
    "StopOnNonFinite",
    "accuracy",
    "binomial_interval",
    "confusion_matrix",
    "cross_entropy",
    "decode_png",
    "digits",
    "find_nonfinite",
    "log_softmax",
    "mlp",
    "mnist",
    "nll_loss",
    "plot_history",
    "show_confusion",
    "show_images",
]
