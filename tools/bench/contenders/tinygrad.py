"tinygrad on the CPU, each step compiled by `TinyJit`; its C by zig's clang, which comes from PyPI."

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ |= {"DEV": "CPU", "PARALLEL": "0"}  # compile here: other processes lack the compiler

import numpy as np
from tinygrad import Context, Tensor, TinyJit
from tinygrad.nn.optim import SGD
from tinygrad.runtime.support.compiler_cpu import ClangCompiler

OPTIONS = "-O2 -g0 -fPIC -ffreestanding -fno-math-errno -nostdlib -fno-sanitize=all -mcpu=native"


def compile_with_zig(self, source):
    arch = {"arm64": "aarch64"}.get(self.arch, self.arch)
    zig = [sys.executable, "-m", "ziglang", "cc", "-target", f"{arch}-freestanding-none"]
    with TemporaryDirectory() as folder:
        file, out = Path(folder) / "kernel.c", Path(folder) / "kernel.o"
        file.write_text(source, encoding="utf-8")
        subprocess.run([*zig, *OPTIONS.split(), "-c", file, "-o", out], check=True)
        return out.read_bytes()


ClangCompiler.compile = compile_with_zig


class Contender:
    def __init__(self, work):
        self.n, self.batch_size = len(work.y), work.batch_size
        self.params = [Tensor(w).is_param_() for w in work.weights]
        x, y = Tensor(work.x).realize(), Tensor(work.y.astype(np.int32)).realize()
        w1, b1, w2, b2 = self.params
        optimizer = SGD(self.params, lr=work.lr)

        def step(rows):
            optimizer.zero_grad()
            logits = (x[rows] @ w1.T + b1).relu() @ w2.T + b2
            logits.sparse_categorical_crossentropy(y[rows]).backward()
            optimizer.step()

        self.step, self.last_step = TinyJit(step), TinyJit(step)
        self.rng = np.random.default_rng()

    def epoch(self):
        order = self.rng.permutation(self.n).astype(np.int32)
        whole = self.n // self.batch_size * self.batch_size
        with Context(TRAINING=1):
            for rows in order[:whole].reshape(-1, self.batch_size):
                self.step(Tensor(rows).realize())
            if whole < self.n:
                self.last_step(Tensor(order[whole:]).realize())
        self.weights()  # waits until all is done

    def weights(self):
        return [p.numpy() for p in self.params]
