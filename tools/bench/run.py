"""Everybody trains one epoch of MNIST, in turn: ours and each peer that can be installed.

    make bench
    make bench ARGS="--only ours,numpy --rounds 5 --threads 2"
    make bench ARGS="--save"

A contender is a file in contenders/, run by worker.py in a process of its own that lives through all
rounds. Its environment, with what requirements/ pins, is made in build/bench/ and kept there. In each
round each contender trains one epoch, in a new order; a ratio compares epochs of the same round.
A contender that leaves the path of the reference's loss, or keeps more cores busy than stated, is refused.
"""

import argparse
import json
import os
import random
import re
import select
import shutil
import statistics
import subprocess
import sys
import venv
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from tqdm import tqdm

from mnist_walkthrough import ImageDataset, mnist
from mnist_walkthrough.data import FIGURES
from mnist_walkthrough.results import Result, made_here
from mnist_walkthrough.speed import quartiles, show_bench

HERE = Path(__file__).resolve().parent
BUILD = HERE.parent.parent / "build" / "bench"
STORED = HERE.parent.parent / "mnist_walkthrough" / "results" / "speed_bench.json"

REFERENCE = "torch_nn"
LOSS_WITHIN = (
    0.15  # Of the reference's after as many epochs; orders differ by 3 %, half the rows by 25 %
)
CORES_OVER = 0.1  # Busy cores above the stated threads
TICK = 0.02  # Seconds by which the two clocks may disagree, whatever the length of an epoch
BUDGET = 20  # Seconds of timed epochs after which a contender sits out
AT_LEAST = 3  # Rounds that the slowest takes part in all the same
TIMEOUT = 300  # Seconds without an answer


class Contender(NamedTuple):
    "Who takes part."

    name: str
    label: str
    packages: tuple[str, ...] = ("torch",)  # Whose versions are reported
    environment: str | None = None  # Of requirements/; the project's own when None
    trains: bool = True

    @property
    def module(self) -> str:
        return f"contenders.{self.name}"


CONTENDERS = [
    Contender("products", "matrix products alone", trains=False),
    Contender("ours_fast", "ours, fast, padded to 32"),
    Contender("ours_unpadded", "ours, fast"),
    Contender("ours_by_hand", "ours, gradients by hand"),
    Contender("ours", "ours, autograd"),
    Contender(REFERENCE, "torch nn, vectorised loader"),
    Contender("addmm", "hand-written addmm, autograd"),
    Contender("torch_loader", "torch nn, torch's DataLoader"),
    Contender("original", "the original notebook's way"),
    Contender("numpy", "numpy by hand", ("numpy",)),
    Contender("jax", "JAX with lax.scan", ("jax",), "jax"),
    Contender("keras_jax", "keras on JAX", ("keras", "jax"), "keras_jax"),
    Contender("keras_torch", "keras on torch", ("keras", "torch"), "keras_torch"),
    Contender("sklearn", "scikit-learn", ("scikit-learn",), "sklearn"),
    Contender("lightning", "Lightning", ("lightning", "torch"), "lightning"),
    Contender("fastai", "fastai in memory", ("fastai", "torch"), "fastai"),
    Contender("fastai_pngs", "fastai from the PNG folder", ("fastai", "torch"), "fastai"),
    Contender("miniai", "miniai", ("miniai", "torch"), "miniai"),
    Contender("tinygrad", "tinygrad on the CPU", ("tinygrad",), "tinygrad"),
]


class Refused(Exception):
    "Why a contender is not in the table."


def last_line(text: str) -> str:
    "Where a traceback says what went wrong."
    return ([line.strip() for line in text.splitlines() if line.strip()] or ["no word of why"])[-1]


def first_error(text: str) -> str:
    "Where pip, or git for it, says what went wrong."
    errors = re.findall("^ *(fatal: .+)", text, re.M) or re.findall("^(ERROR: .+)", text, re.M)
    return errors[0] if errors else last_line(text)


def environment(requirements: Path) -> Path:
    "The Python of an environment with these packages, made if need be."
    folder = BUILD / requirements.stem
    python, kept = folder / "bin" / "python", folder / "requirements.txt"
    wanted = requirements.read_text(encoding="utf-8")
    if kept.is_file() and kept.read_text(encoding="utf-8") == wanted:
        return python
    tqdm.write(f"setting up {requirements.stem}")
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    torch = [line for line in wanted.splitlines() if line.startswith("torch==")]
    rest = [["-c", str(requirements), *torch]] if torch else []  # what its build for GPUs needs
    for step in [["--no-deps", "-r", str(requirements)], *rest]:
        done = subprocess.run([*pip, *step], capture_output=True, text=True)
        if done.returncode:
            raise Refused(f"cannot be installed: {first_error(done.stderr)}")
    kept.write_text(wanted, encoding="utf-8")
    return python


class Entry:
    "A contender's process, and what it has done."

    def __init__(self, contender: Contender, job: dict):
        self.contender, self.threads = contender, job["threads"]
        self.job = job | {"packages": contender.packages}
        self.log = BUILD / f"{contender.name}.log"
        self.process, self.versions, self.refused = None, "", ""
        self.losses: list[float | None] = []
        self.runs: list[dict[str, Any]] = []

    def start(self) -> None:
        "Its environment, its process, and a first epoch that is not timed, in which some compile."
        name = self.contender.environment
        python = environment(HERE / "requirements" / f"{name}.txt") if name else sys.executable
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        settings = {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
        settings["XDG_CACHE_HOME"] = str(BUILD / "cache")
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [python, HERE / "worker.py", self.contender.module, json.dumps(self.job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | settings | dict.fromkeys(names, str(self.threads)),
            )
        ready = self.answer()
        self.versions, self.losses = ready["versions"], [ready["loss"]]
        self.train()

    def answer(self) -> dict:
        "What the process says; raises `Refused` when it ends, or stays silent."
        if not select.select([self.process.stdout], [], [], TIMEOUT)[0]:
            raise Refused(f"gives no answer within {TIMEOUT} s")
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"fails: {last_line(self.log.read_text(encoding='utf-8'))}")
        return json.loads(line)

    def train(self) -> dict:
        "One epoch."
        with suppress(BrokenPipeError):  # its answer, or the lack of one, says more
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
        found = self.answer()
        found["cores"] = found["cpu"] / found["seconds"]
        self.losses.append(found["loss"])
        if found["cpu"] > (self.threads + CORES_OVER) * found["seconds"] + TICK:
            raise Refused(f"keeps {found['cores']:.2f} cores busy, stated: {self.threads}")
        return found

    def take_part(self, number: int) -> None:
        "One epoch of a round, unless its time is used up."
        times = [run["seconds"] for run in self.runs]
        always = len(times) < AT_LEAST or self.contender.name == REFERENCE
        if always or sum(times) < BUDGET:
            self.runs.append({"round": number} | self.train())

    def attempt(self, action: Callable[..., None], *args: Any) -> None:
        "Do it, unless the contender is refused, or is now."
        if self.refused:
            return
        try:
            action(*args)
        except Refused as reason:
            self.refused = str(reason)
            tqdm.write(f"{self.contender.label} {reason}")

    def compare(self, reference: list[float]) -> None:
        "Raises `Refused` unless the losses, from the start on, are about those of the reference."
        for i, (loss, expected) in enumerate(zip(self.losses, reference, strict=False)):
            within = LOSS_WITHIN if i else 1e-3  # all begin with the same weights
            if loss is None or not abs(loss - expected) <= within * expected:
                found = "not known" if loss is None else f"{loss:.3f}"
                raise Refused(f"does other work: loss after {i} epochs {found}, not {expected:.3f}")

    def end(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()


def race(contenders: list[Contender], job: dict, rounds: int) -> list[Entry]:
    "All rounds, and what is to be said of them."
    entries = [Entry(contender, job) for contender in contenders]
    try:
        for entry in tqdm(entries, desc="start", unit="contender"):
            entry.attempt(entry.start)
        for number in tqdm(range(rounds), desc="rounds", unit="round"):
            for entry in random.sample(entries, len(entries)):
                entry.attempt(entry.take_part, number)
    finally:
        for entry in entries:
            entry.end()
    reference = next(e for e in entries if e.contender.name == REFERENCE)
    if reference.refused or not reference.losses[1] < 0.9 * reference.losses[0]:
        raise SystemExit(f"no reference: {reference.refused or 'it does not train'}")
    for entry in entries:
        if entry.contender.trains:
            entry.attempt(entry.compare, reference.losses)
    return entries


def collect(entries: list[Entry]) -> Result:
    "A run for each epoch in the table; for who is not in it, one with the reason."
    reference = next(e for e in entries if e.contender.name == REFERENCE)
    seconds = {run["round"]: run["seconds"] for run in reference.runs}
    runs = []
    for entry in entries:
        who = {"contender": entry.contender.label, "threads": entry.threads}
        if entry.refused:
            runs.append(who | {"refused": entry.refused})
            continue
        for run in entry.runs:
            found = {"seconds": run["seconds"], "ratio": run["seconds"] / seconds[run["round"]]}
            found |= {"cores": run["cores"], "loss": run["loss"]}
            found = {key: value and round(value, 4) for key, value in found.items()}
            runs.append(who | {"with": entry.versions, "round": run["round"]} | found)
    return made_here(runs)


def table(result: Result) -> str:
    "Medians with quartiles, the fastest first; then who is refused."
    groups, rows, missing = defaultdict(list), [], []
    for run in result.runs:
        if "refused" in run:
            missing.append(f"not in the table: {run['contender']} {run['refused']}")
        else:
            groups[run["contender"]].append(run)
    for label, runs in groups.items():
        low, ratio, high = quartiles([run["ratio"] for run in runs])
        spread = f"({low:.2f} to {high:.2f})"
        seconds = statistics.median(run["seconds"] for run in runs)
        cores = statistics.median(run["cores"] for run in runs)
        loss = "-" if runs[0]["loss"] is None else f"{runs[0]['loss']:.3f}"
        row = f"{label:30} {ratio:6.2f} {spread:16} {seconds:7.3f} s {cores:6.2f}"
        rows.append((ratio, f"{row} {len(runs):7} {loss:>6}  {runs[0]['with']}"))
    head = f"{'':30}  ratio (quartiles)      median  cores  rounds   loss  with"
    return "\n".join([head, *(row for _, row in sorted(rows)), *missing])


def make_job(folder: Path, batch_size: int, threads: int) -> dict:
    "Everybody's work, with the images of a folder written to one file."
    dataset = ImageDataset(folder)
    np.save(BUILD / "images.npy", dataset.images.flatten(1).numpy())
    np.save(BUILD / "labels.npy", dataset.y.numpy())
    return {
        "folder": str(BUILD),
        "pngs": str(folder),
        "sizes": [784, 30, 10],
        "batch_size": batch_size,
        "lr": 0.1,
        "threads": threads,
    }


def n_cores() -> int:
    "Cores that this process may use."
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def main() -> None:
    names = [contender.name for contender in CONTENDERS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(names)}")
    parser.add_argument(
        "--rounds", type=int, default=21, help="in which all take part in turn (21)"
    )
    parser.add_argument("--threads", type=int, default=1, help="for each contender (1)")
    parser.add_argument("--save", action="store_true", help=f"keep the result in {STORED.name}")
    args = parser.parse_args()
    only = args.only.split(",") if args.only else names
    if args.only and args.save:
        parser.error("--save is for a run of all contenders, without --only")
    if unknown := set(only) - set(names):
        parser.error(f"no contender {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if not 1 <= args.threads <= n_cores() or args.rounds < 1:
        parser.error(f"--threads is from 1 to the {n_cores()} cores here, --rounds is 1 or more")
    try:
        folder = mnist() / "training"
    except (OSError, ValueError) as error:
        raise SystemExit(str(error)) from error
    BUILD.mkdir(parents=True, exist_ok=True)
    chosen = [c for c in CONTENDERS if c.name in {*only, REFERENCE}]
    result = collect(race(chosen, make_job(folder, 256, args.threads), args.rounds))
    threads = f"{args.threads} thread{'s' if args.threads > 1 else ''}"
    print(f"\nOne epoch of MNIST, batch size 256, 784-30-10, SGD, {threads}; {result.caption()}")
    print(f"{table(result)}\nloss: after the first round, the second epoch")
    with plt.style.context(FIGURES):
        show_bench(result).savefig(BUILD / "bench.png", dpi=150)
    print(f"picture: {BUILD / 'bench.png'}")
    if args.save:
        result.save(STORED)


if __name__ == "__main__":
    main()
