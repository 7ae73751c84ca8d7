"""Make the stored results again: runs that take minutes, on the full MNIST.

    python tools/make_results.py                      # all
    python tools/make_results.py accuracy_headline    # some

Each experiment of tools/experiments/ becomes one file in mnist_walkthrough/results/.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from mnist_walkthrough import ImageDataset, mnist
from mnist_walkthrough.results import made_here

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "mnist_walkthrough" / "results"


class Experiment(NamedTuple):
    "A function that is run for many settings."

    run: Callable[..., dict[str, Any]]  # Settings to findings; both are plain JSON values
    cases: list[dict[str, Any]]  # The settings of each run
    checks: Sequence[dict[str, Any]] = ()  # Cases of which a test makes the accuracy again


@cache
def full(
    part: str,  # "training" or "testing"
) -> ImageDataset:
    "All of MNIST's digits of a part, read once."
    return ImageDataset(mnist() / part)


@contextmanager
def threads_of(n: int) -> Iterator[None]:
    "Torch computes with so many threads inside of the block."
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class NotHere(Exception):
    "This machine lacks what an experiment needs."


def experiments() -> dict[str, Experiment]:
    "All experiments by their names."
    found: dict[str, Experiment] = {}
    for path in sorted((HERE / "experiments").glob("*.py")):
        found |= import_module(f"experiments.{path.stem}").EXPERIMENTS
    return found


def make(name: str, experiment: Experiment) -> None:
    "Run all cases of an experiment and store what they found."
    cases = tqdm(experiment.cases, desc=name, unit="run")
    made_here([case | experiment.run(**case) for case in cases]).save(RESULTS / f"{name}.json")


def main() -> None:
    known = experiments()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(known) or "none yet")
    names = parser.parse_args().names
    if unknown := set(names) - set(known):
        parser.error(f"no experiment {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in names or known:
        try:
            make(name, known[name])
        except NotHere as error:
            if names:
                parser.error(f"{name} cannot be made here: {error}")
            print(f"{name} was left as it is: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.modules["make_results"] = sys.modules["__main__"]  # experiments import Experiment from here
    main()
