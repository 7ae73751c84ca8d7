"The command `mnist_walkthrough`: the walk as a table, with one more own part in each row."

import argparse
import time
from pathlib import Path

import torch
from torch.utils.data import TensorDataset
from tqdm import tqdm

from mnist_walkthrough.data import cache_folder, cached, clear_cache, digits
from mnist_walkthrough.learner import load_split, train_with
from mnist_walkthrough.net import max_difference

STAGES = ("data", "loader", "net", "optimizer", "loss", "metric", "learner")
ROW = "{:16} {:>10} {:>15} {:>9} {:>19}"
HEADER = ROW.format("parts", "train loss", "valid accuracy", "seconds", "largest difference")


def load(folder: Path, own: bool) -> list[TensorDataset]:
    "Training and testing images of a folder, which must be of one size."
    splits = [load_split(folder / name, own) for name in ("training", "testing")]
    sizes = [split.tensors[0].shape[1] for split in splits]
    if sizes[0] != sizes[1]:
        raise ValueError(
            f"{folder}: images of {sizes[0]} pixels in training, of {sizes[1]} in testing"
        )
    labels = [set(split.tensors[1].tolist()) for split in splits]
    if not labels[1] <= labels[0]:
        raise ValueError(f"{folder}: classes {sorted(labels[1] - labels[0])} are in testing only")
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
        epochs = tqdm(range(n_epochs), desc=name, unit="epoch", leave=False, disable=None)
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


def whole(text: str, least: int) -> int:
    "A whole number from `least` on, for argparse."
    if not text.isdecimal() or not least <= int(text) < 2**63:
        raise argparse.ArgumentTypeError(f"expected a whole number from {least} on, got {text!r}")
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
        if args.cache or args.clear_cache:
            return show_cache()
        walk(args.data or digits(), args.epochs, args.seed)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        parser.exit(130, f"\n{parser.prog}: interrupted\n")
    finally:
        torch.set_num_threads(threads)
