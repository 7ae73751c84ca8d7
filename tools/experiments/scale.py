"What page 14 shows and a page has no time for: processes, streams, bfloat16 and ONNX."

import json
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from make_results import Experiment
from torch import nn
from torch.nn.functional import cross_entropy, linear

from mnist_walkthrough import SGD, ImageDataset, mlp, mnist
from mnist_walkthrough.scale import (
    InBFloat16,
    ShardStream,
    clumping,
    export_onnx,
    processes,
    read_state,
    write_shards,
)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def epoch_seconds(repeat, n_hidden, batch_size, n_processes):
    "Median time of an epoch of all 60,000, one thread a process."
    with TemporaryDirectory() as folder:
        checkpoint = Path(folder, "run.safetensors")
        options = ["--data", mnist(), "--epochs", 5, "--batch-size", batch_size]
        options += ["--hidden", n_hidden]
        with processes(n_processes, checkpoint, *options) as run:
            said, _ = run.communicate(timeout=170)
        if run.returncode:
            raise RuntimeError(said)
        return {"seconds": median(row["seconds"] for row in read_state(checkpoint)["history"])}


PASS = r"""
import json, re, sys, time
import torch
from mnist_walkthrough.loader import DataLoader
from mnist_walkthrough.scale import ShardStream, read_blocks
torch.set_num_threads(1)
folder, way = sys.argv[1:]
start, n = time.perf_counter(), 0
stream = ShardStream(folder, 256, 20_000)
if way == "memory":
    parts = [part for part in read_blocks(stream.shards, 10**9)]
    images, y = (torch.cat(tensors) for tensors in zip(*parts))
    stream = DataLoader((images.flatten(1).float() / 255, y), 256, shuffle=True)
for xb, yb in () if way == "nothing" else stream:
    n += len(yb)
seconds = time.perf_counter() - start
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
print(json.dumps({"rows": n, "seconds": seconds, "peak_mib": peak}))
"""


def one_pass(repeat, way, times):
    "Time and memory (on Linux) of a process that goes once through `times` the training digits."
    train = ImageDataset(mnist() / "training")
    with TemporaryDirectory() as folder:
        order = torch.randperm(len(train), generator=seeded(0))
        images, y = train.images[order], train.y[order]
        for i in range(times):
            part = Path(folder, f"{i:02}")
            part.mkdir()
            write_shards(images, y, part, 6000)
            for shard in part.iterdir():
                shard.rename(Path(folder, f"{i:02}-{shard.name}"))
            part.rmdir()
        command = [sys.executable, "-c", PASS, folder, way]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)


def shuffled(seed, written, buffer_size):
    "Two epochs of 784-30-10 on 55,000 digits in shards of 1,000, measured on the other 5,000."
    train = ImageDataset(mnist() / "training")
    rows = torch.randperm(len(train), generator=seeded(1000 + seed))
    valid, rows = rows[55_000:], rows[:55_000]
    if written == "sorted":
        rows = rows[train.y[rows].argsort(stable=True)]
    net = mlp(784, 30, 10, generator=seeded(seed))
    optimizer, classes = SGD(net.parameters(), lr=0.1, momentum=0.9), []
    with TemporaryDirectory() as folder:
        write_shards(train.images[rows], train.y[rows], Path(folder), 1000)
        stream = ShardStream(folder, 256, buffer_size, seeded(seed))
        for _ in range(2):
            for xb, yb in stream:
                optimizer.zero_grad()
                cross_entropy(net(xb), yb).backward()
                optimizer.step()
                classes.append(yb)
    with torch.no_grad():
        right = net(train.images[valid].flatten(1).float() / 255).argmax(1) == train.y[valid]
    share = torch.bincount(train.y[rows]) / len(rows)
    return {"accuracy": right.float().mean().item(), "clumping": clumping(classes, share)}


def nets(name):
    torch.manual_seed(0)
    if name == "conv 16-32":
        convolutions = [nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5)]
        return nn.Sequential(
            nn.Unflatten(1, (1, 28, 28)),
            *convolutions,
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(512, 10),
        )
    return mlp(*map(int, name.split("-")))


def step_milliseconds(repeat, net, products):
    "Time of a training step on 256 rows."
    model = nets(net)
    model = InBFloat16(model) if products == "bfloat16" else model
    optimizer, times = SGD(model.parameters(), lr=0.01), []
    xb, yb = torch.rand(256, 784, generator=seeded(0)), torch.arange(256) % 10
    for _ in range(60):
        start = time.perf_counter()
        optimizer.zero_grad()
        cross_entropy(model(xb), yb).backward()
        optimizer.step()
        times.append(1000 * (time.perf_counter() - start))
    return {"milliseconds": median(times[10:]), "threads": torch.get_num_threads()}


def product_rate(repeat, n_out, arithmetic):
    "Billions of operations a second of 256 rows through a layer 784 to `n_out`, one thread."
    given = [torch.rand(shape, generator=seeded(0)) for shape in ((256, 784), (n_out, 784), n_out)]
    if arithmetic == "float32, oneDNN":
        given = [t.to_mkldnn() for t in given]
    elif arithmetic == "bfloat16, oneDNN":
        given = [t.bfloat16() for t in given]
    threads, times = torch.get_num_threads(), []
    torch.set_num_threads(1)
    for _ in range(500):
        start = time.perf_counter()
        linear(*given)
        times.append(time.perf_counter() - start)
    torch.set_num_threads(threads)
    return {"gigaflops": 2 * 256 * 784 * n_out / median(times[50:]) / 1e9}


def microseconds_per_digit(repeat, rows, runtime):
    "Time of 784-30-10's answer in torch and in onnxruntime, one thread each."
    import onnxruntime

    model, x = mlp(784, 30, 10, generator=seeded(0)), torch.rand(rows, 784, generator=seeded(0))
    answer, times = torch.no_grad()(model), []
    if runtime == "onnxruntime":
        with TemporaryDirectory() as folder:
            export_onnx(model, Path(folder, "digits.onnx"), x[:2].repeat(2, 1))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(Path(folder, "digits.onnx"), options)
        x = x.numpy()

        def answer(x):
            return session.run(None, {"x": x})

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for _ in range(20_000 // rows + 50):
        start = time.perf_counter()
        answer(x)
        times.append(1e6 * (time.perf_counter() - start) / rows)
    torch.set_num_threads(threads)
    return {"microseconds": median(times)}


def cases(**settings):
    return [dict(zip(settings, values, strict=True)) for values in product(*settings.values())]


EXPERIMENTS = {
    "scale_processes": Experiment(
        epoch_seconds,
        [
            {"repeat": r, "n_hidden": h, "batch_size": b, "n_processes": n}
            for r in range(3)
            for h, b in ((30, 256), (1000, 256), (1000, 4096))
            for n in (1, 2)
        ],
    ),
    "scale_stream": Experiment(
        one_pass,
        [
            {"repeat": r, "way": way, "times": times}
            for r in range(3)
            for way, times in (("nothing", 1), ("stream", 1), ("stream", 10), ("memory", 10))
        ],
    ),
    "scale_shuffle": Experiment(
        shuffled,
        cases(
            seed=list(range(5)),
            written=["sorted", "mixed"],
            buffer_size=[256, 1000, 4000, 16_000, 55_000],
        ),
        [{"seed": 0, "written": "mixed", "buffer_size": 1000}],
    ),
    "scale_bfloat16": Experiment(
        step_milliseconds,
        cases(
            repeat=list(range(5)),
            net=["784-30-10", "784-1000-1000-10", "conv 16-32"],
            products=["float32", "bfloat16"],
        ),
    ),
    "scale_products": Experiment(
        product_rate,
        cases(
            repeat=list(range(5)),
            n_out=[30, 1000],
            arithmetic=["float32, MKL", "float32, oneDNN", "bfloat16, oneDNN"],
        ),
    ),
    "scale_onnx": Experiment(
        microseconds_per_digit,
        cases(repeat=list(range(5)), rows=[1, 1000], runtime=["torch", "onnxruntime"]),
    ),
}
