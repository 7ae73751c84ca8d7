"""One contender in a process of its own: an epoch for each line on stdin, what it took as JSON on stdout.

    python worker.py contenders.numpy JOB

Runs in any environment with numpy.
"""

import json
import os
import sys
import time
from functools import cached_property
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np


class Work:
    "What is to be done, the same for every contender."

    def __init__(self, job):
        folder = Path(job["folder"])
        self.images = np.load(folder / "images.npy")  # uint8 [n, 784]
        self.y = np.load(folder / "labels.npy")  # int64 [n]
        self.pngs = Path(job["pngs"])  # The same as files, a folder for each class
        self.batch_size, self.lr = job["batch_size"], job["lr"]
        sizes, rng = job["sizes"], np.random.default_rng(0)
        self.weights = []  # To begin with: weight [n_out, n_in], bias [n_out] of each layer
        for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True):
            for shape in ((n_out, n_in), (n_out,)):
                bound = n_in**-0.5
                self.weights.append(rng.uniform(-bound, bound, shape).astype(np.float32))

    @cached_property
    def x(self):
        "The images in [0, 1], float32 [n, 784]."
        return self.images.astype(np.float32) / 255


class Exam:
    "Cross-entropy of weights on a tenth of the images, or 1,000."

    def __init__(self, work):
        n = len(work.y)
        rows = np.random.default_rng(0).permutation(n)[: max(n // 10, 1000)]
        self.x, self.y = work.images[rows].astype(np.float32) / 255, work.y[rows]

    def __call__(self, weights):
        w1, b1, w2, b2 = (np.asarray(w, np.float64) for w in weights)
        logits = np.maximum(self.x @ w1.T + b1, 0) @ w2.T + b2
        logits -= logits.max(1, keepdims=True)
        picked = logits[np.arange(len(self.y)), self.y]
        return float((np.log(np.exp(logits).sum(1)) - picked).mean())


def main():
    answers, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    os.dup2(2, 1)  # Whatever the libraries print goes to the log

    def answer(**found):
        print(json.dumps(found), file=answers, flush=True)

    module, job = sys.argv[1], json.loads(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job["threads"]])
    work = Work(job)
    exam = Exam(work)
    contender = import_module(module).Contender(work)
    trains = hasattr(contender, "weights")
    answer(
        versions=", ".join(f"{name} {version(name)}" for name in job["packages"]),
        loss=exam(contender.weights()) if trains else None,
    )
    for _ in sys.stdin:
        start, start_cpu = time.perf_counter(), time.process_time()
        contender.epoch()
        seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
        loss = exam(contender.weights()) if trains else None
        answer(seconds=seconds, cpu=cpu, loss=loss)


if __name__ == "__main__":
    main()
