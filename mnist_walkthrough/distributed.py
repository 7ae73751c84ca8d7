"""The training of stage 14 as a program: alone, or in as many processes as torchrun starts.

python -m mnist_walkthrough.distributed run.safetensors
torchrun --nproc-per-node 2 -m mnist_walkthrough.distributed run.safetensors
"""

import argparse
import os
import sys
from pathlib import Path

import torch

from mnist_walkthrough.cli import whole
from mnist_walkthrough.scale import (
    Checkpoint,
    Distributed,
    make_learner,
    process_group,
    rank,
    world_size,
)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="mnist_walkthrough.distributed",
        description="Train 784-30-10. Start it again, and it goes on from its checkpoint.",
    )
    parser.add_argument("checkpoint", type=Path, help="file that is written after each epoch")
    parser.add_argument("--data", type=Path, help="folder of images; the shipped digits if none")
    parser.add_argument(
        "--epochs", type=lambda text: whole(text, 1), default=20, help="in all, default 20"
    )
    parser.add_argument(
        "--batch-size",
        type=lambda text: whole(text, 1),
        default=199,
        help="of all processes together",
    )
    parser.add_argument(
        "--hidden", type=lambda text: whole(text, 1), default=30, help="units of the hidden layer"
    )
    parser.add_argument("--dtype", default="float32", choices=["float32", "float64"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda", "mps"])
    parser.add_argument(
        "--seed", type=lambda text: whole(text, 0), default=37, help="of weights and permutations"
    )
    args = parser.parse_args()
    try:
        with process_group(args.device) as device:
            line = f"process {rank()} of {world_size()}: pid {os.getpid()}, {device}\n"
            print(line, end="", flush=True)
            in_company = [Distributed(device)] if world_size() > 1 else []
            learner = make_learner(
                [*in_company, Checkpoint(args.checkpoint)],
                data=args.data,
                batch_size=args.batch_size,
                n_hidden=args.hidden,
                dtype=getattr(torch, args.dtype),
                device=device,
                seed=args.seed,
            )
            learner.fit(args.epochs, progress=rank() == 0)
    except ConnectionError as error:
        sys.exit(f"{error}; the same command goes on from {args.checkpoint}")
    except (OSError, ValueError) as error:
        sys.exit(f"{parser.prog}: error: {error}")


if __name__ == "__main__":
    main()
