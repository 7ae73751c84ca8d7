"What page 14 shows of a GPU; made on a machine that has one: `make results NAMES=scale_cuda`."

import time
from statistics import median

import torch
from make_results import Experiment, NotHere

from mnist_walkthrough import SGD, cross_entropy, mlp
from mnist_walkthrough.scale import InBFloat16

EPOCHS = 4  # the first of them warms up


def seconds_of(work, device):
    "A GPU is handed its work and computes it later; the clock has to wait for it."
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def cuda_epoch(repeat, device, net, batch_size, products):
    "Median time of an epoch over 60,000 rows that lie on the device already; on the CPU with one thread."
    if not torch.cuda.is_available():
        raise NotHere("there is no CUDA device")
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(60_000, 784, generator=generator).to(device)
    y = torch.randint(10, (60_000,), generator=generator).to(device)
    model = mlp(*map(int, net.split("-")), generator=generator).to(device)
    model = InBFloat16(model) if products == "bfloat16" else model
    optimizer = SGD(model.parameters(), lr=0.01)

    def epoch():
        for rows in torch.randperm(60_000, device=device).split(batch_size):
            optimizer.zero_grad()
            cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()

    seconds = [seconds_of(epoch, device) for _ in range(EPOCHS)]
    return {"gpu": torch.cuda.get_device_name(), "seconds": round(median(seconds[1:]), 4)}


WIDTHS = ("784-30-10", "784-1000-10", "784-4000-4000-10")
ON_GPU = [
    {"device": "cuda", "net": net, "batch_size": batch_size, "products": products}
    for net in WIDTHS
    for batch_size in (256, 4096)
    for products in ("float32", "bfloat16")
]
ON_CPU = [
    {"device": "cpu", "net": net, "batch_size": batch_size, "products": "float32"}
    for net in WIDTHS[:2]
    for batch_size in (256, 4096)
]
EXPERIMENTS = {
    "scale_cuda": Experiment(
        cuda_epoch,
        [{"repeat": repeat} | case for repeat in range(3) for case in ON_GPU + ON_CPU],
    ),
}
