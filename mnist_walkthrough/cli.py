"The command `mnist_walkthrough`: the walk as a table, with one more own part in each row."

import argparse
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.data import TensorDataset
from tqdm import tqdm

from mnist_walkthrough.data import cache_folder, cached, clear_cache, class_files, digits
from mnist_walkthrough.learner import load_split, train_with
from mnist_walkthrough.net import max_difference

STAGES = ("data", "loader", "net", "optimizer", "loss", "metric", "learner")
ROW = "{:16} {:>10} {:>15} {:>9} {:>19}"
MAX_CLASS = 9999  # the net has a score for each number up to the largest class
HEADER = ROW.format("parts", "train loss", "valid accuracy", "seconds", "largest difference")


def load(folder: Path, own: bool) -> list[TensorDataset]:
    "Training and testing images of a folder, of one size and in two classes or more."
    parts = [folder / name for name in ("training", "testing")]
    trained, tested = (set(class_files(part)) for part in parts)
    if tested - trained:
        raise ValueError(f"{folder}: classes {sorted(tested - trained)} are in testing only")
    if len(trained) < 2 or max(trained) > MAX_CLASS:
        raise ValueError(
            f"{folder}: need two classes or more of 0 to {MAX_CLASS}, got {sorted(trained)}"
        )
    splits = [load_split(part, own) for part in parts]
    sizes = [split.tensors[0].shape[1] for split in splits]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"{folder}: images of {sizes[0]} pixels in training, of {sizes[1]} in testing"
        )
    return splits


def walk(folder: Path, n_epochs: int, seed: int) -> None:
    "Train with library parts only, then with one more own part each time; a row as each ends."
    train, valid = load(folder, own=False)
    train_with(
        set(), train, valid, range(1), seed
    )  # the first run of a process also pays for torch's start
    print(
        f"{len(train)} images to train on, {len(valid)} to test on; {n_epochs} epochs, seed {seed}"
    )
    print(HEADER, flush=True)
    models = []
    for k in range(len(STAGES) + 1):
        own, name = set(STAGES[:k]), f"+ own {STAGES[k - 1]}" if k else "all library"
        start = time.perf_counter()
        train, valid = load(folder, own="data" in own)
        watched = sys.stderr is not None and sys.stderr.isatty()
        epochs = tqdm(range(n_epochs), desc=name, unit="epoch", leave=False, disable=not watched)
        run = train_with(own, train, valid, epochs, seed)
        seconds = time.perf_counter() - start
        models.append(run.model)
        difference = max_difference(run.model, models[0])
        shown = f"{difference:.1e}" if difference else "none"
        row = (name, f"{run.train_loss:.4f}", f"{run.accuracy:.1%}", f"{seconds:.2f} s", shown)
        print(ROW.format(*row), flush=True)
    print("largest difference: in any parameter, from the run with library parts only")


def show_cache() -> None:
    "Print where the cache is, what of ours is in it, and how large it is."
    sizes = cached()
    print(f"{cache_folder()}: {sum(sizes.values()) / 1e6:,.1f} MB")
    for path, size in sizes.items():
        print(f"{size / 1e6:10,.1f} MB  {path.name}")


@contextmanager
def written() -> Iterator[None]:
    "All that a block prints is written at its end; what cannot be is dropped, or Python would try again."
    try:
        yield
    finally:
        try:
            print(end="", flush=True)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise


def whole(text: str, least: int) -> int:
    "A whole number from `least` on, for argparse."
    if not text.isdecimal() or len(text) > 18 or int(text) < least:
        said = f"expected a whole number from {least} on, of 18 digits at most, got {text!r}"
        raise argparse.ArgumentTypeError(said)
    return int(text)


def main(argv: list[str] | None = None) -> None:
    "Parse the command line and walk."
    parser = argparse.ArgumentParser(
        prog="mnist_walkthrough",
        description="Train on handwritten digits with library parts only, then with one more part "
        "written from basic PyTorch operations in each row, and show that it makes no difference.",
    )
    parser.add_argument(
        "--epochs",
        type=lambda text: whole(text, 1),
        default=20,
        help="passes over the training images (default: 20)",
    )
    parser.add_argument(
        "--seed",
        type=lambda text: whole(text, 0),
        default=37,
        help="of weights and permutations (default: 37, with which rounding stays rounding; "
        "see the page on the optimizer)",
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="a folder {training,testing}/{0,1,...}/*.png of 8-bit grey images of one size "
        "(default: the digits of the package)",
    )
    cache = parser.add_mutually_exclusive_group()
    cache.add_argument(
        "--cache", action="store_true", help="list what is kept in the cache folder, and stop"
    )
    cache.add_argument(
        "--clear-cache",
        action="store_true",
        help="remove it, except for what another process is making, list what stays, and stop",
    )
    args = parser.parse_args(argv)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # matrices this small gain nothing from more, and may lose much
    try:
        if args.clear_cache:
            clear_cache()
        with written():
            if args.cache or args.clear_cache:
                return show_cache()
            walk(args.data or digits(), args.epochs, args.seed)
    except BrokenPipeError:  # the reader has seen enough, as `head` has
        parser.exit(141)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\n{parser.prog}: interrupted\n")
    finally:
        torch.set_num_threads(threads)
