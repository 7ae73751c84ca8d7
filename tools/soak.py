"""Kills a training at random moments, again and again, and compares its end with that of one that was left alone.

    make soak
    make soak ARGS="--kills 10000 --seed 3"

A life is a process that loads the file, trains on and saves after each epoch, until it is killed by SIGKILL, which
cannot be caught. After each kill the file has to be whole, and hold no epoch less than before.
"""

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn
from tqdm import tqdm

from mnist_walkthrough.accuracy import Adam, Schedule, one_cycle
from mnist_walkthrough.learner import Callback, Learner, read_state
from mnist_walkthrough.loader import DataLoader
from mnist_walkthrough.loss import cross_entropy
from mnist_walkthrough.metric import accuracy
from mnist_walkthrough.net import mlp


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Save(Callback):
    "After each epoch; says on a pipe when it begins to, and when it is done."

    def __init__(self, file: Path, pipe: int):
        self.file, self.pipe = file, pipe

    def after_epoch(self, learner: Learner) -> None:
        os.write(self.pipe, b"<")
        learner.save(self.file)
        os.write(self.pipe, b">")


def make_learner(callbacks: list[Callback], seed: int) -> Learner:
    "With all that has a state: momentum, a schedule, running means, dropout, a shuffling loader."
    x, y = torch.rand(300, 20, generator=seeded(9)), torch.arange(300) % 10
    net = nn.Sequential(
        mlp(20, 64, 64, generator=seeded(seed)), nn.BatchNorm1d(64), nn.Dropout(0.3)
    )
    net.append(mlp(64, 10, generator=seeded(seed)))
    train_dl = DataLoader((x, y), 32, shuffle=True, generator=seeded(seed))
    optimizer = Adam(net.parameters(), 1e-3)
    callbacks = [Schedule(one_cycle, 1e-3), *callbacks]
    return Learner(
        train_dl, [(x[:50], y[:50])], net, optimizer, cross_entropy, [accuracy], callbacks
    )


def train(file: Path, n_epochs: int, pipe: int) -> None:
    "To the end, from where the file says; from the beginning without one."
    torch.manual_seed(os.getpid() if file.exists() else 0)
    learner = make_learner([Save(file, pipe)], seed=os.getpid() if file.exists() else 0)
    if file.exists():
        learner.load(file)
        learner.fit(learner.n_epochs, progress=False)
    else:
        learner.fit(n_epochs, progress=False)


def live(file: Path, n_epochs: int, seconds: float | None) -> tuple[bool, bytes]:
    "A process, killed after some seconds; whether it came to its end, and what it said."
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            train(file, n_epochs, theirs)
            status = 0
        finally:
            os._exit(status)
    os.close(theirs)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(pid, signal.SIGKILL)
    with os.fdopen(ours, "rb") as pipe:
        said = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"a life ended by itself, with {status}")
    return status == 0, said


def parts(file: Path) -> dict:
    "What a file holds, but for the seconds that epochs took."
    state = read_state(file)
    rows = [{**row, "seconds": 0} for row in state["history"]]
    return state | {"history": rows}


def same(a: object, b: object) -> bool:
    "Bit for bit."
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def soak(folder: Path, kills: int, seed: int) -> str:
    "All lives, and what is to be said of them; exits where a promise is broken."
    draw, survived, saving, done = random.Random(seed), 0, 0, 0
    start = time.perf_counter()
    live(folder / "short", 20, None)
    epoch = (time.perf_counter() - start) / 20
    n_epochs, bar = 20 + 6 * kills, tqdm(total=kills, unit="kill", disable=None)
    live(folder / "alone", n_epochs, None)
    file = folder / "killed"
    while survived < kills:
        ended, said = live(file, n_epochs, draw.uniform(0, 8 * epoch))
        if ended:
            sys.exit(f"all epochs were done after {survived} kills: no more to be tried")
        survived, saving = survived + 1, saving + said.endswith(b"<")
        bar.update()
        if file.exists():
            epochs = len(read_state(file)["history"])
            if epochs < done + said.count(b">"):
                sys.exit(f"{done + said.count(b'>')} epochs were saved, {epochs} are there")
            done = epochs
    bar.close()
    live(file, n_epochs, None)
    if not same(parts(file), parts(folder / "alone")):
        sys.exit(f"after {kills} kills the training is another (seed {seed})")
    left = len(list(folder.glob("*.partial")))
    return (
        f"{kills} kills survived, {saving} of them while saving; {n_epochs} epochs later every bit is that of"
        f" the training that was left alone; {left} partial files were left behind"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=2000, help="how many (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        print(soak(Path(folder), args.kills, args.seed))


if __name__ == "__main__":
    main()
