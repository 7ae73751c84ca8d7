"""Checks for the exercises: `check.linear(your_class)` runs it and says what is wrong, and for which input.

A check knows what an exercise asks for, not how ours does it: it runs the reader's own object on many
cases and compares with torch, or with what the exercise's text promises."""

from mnist_walkthrough.check import solved
from mnist_walkthrough.check.core import EXERCISES, Verdict
from mnist_walkthrough.check.data import (
    decode_grey,
    filter_row,
    first_per_class,
    png_chunk,
    reversed_names,
    silent_flip,
)
from mnist_walkthrough.check.loader import (
    balanced_rows,
    shuffling_loader,
    split_by_class,
    standardise,
    wasteful_batch_size,
)
from mnist_walkthrough.check.loss import (
    binary_cross_entropy,
    label_smoothing,
    logsumexp,
    nan_gradient,
    weighted_cross_entropy,
)
from mnist_walkthrough.check.inspect import accuracy_when_sure, convince, occlusion, twin
from mnist_walkthrough.check.net import linear

__all__ = [
    "EXERCISES",
    "Progress",
    "Verdict",
    "accuracy_when_sure",
    "balanced_rows",
    "binary_cross_entropy",
    "convince",
    "decode_grey",
    "filter_row",
    "first_per_class",
    "label_smoothing",
    "linear",
    "logsumexp",
    "nan_gradient",
    "occlusion",
    "png_chunk",
    "progress",
    "reversed_names",
    "shuffling_loader",
    "silent_flip",
    "split_by_class",
    "standardise",
    "twin",
    "wasteful_batch_size",
    "weighted_cross_entropy",
]


class Progress:
    "The exercises and which of them are solved, as a table."

    def __init__(self) -> None:
        self.solved = {name for name in EXERCISES if name in solved.names()}

    def __repr__(self) -> str:
        lines = [f"{len(self.solved)} of {len(EXERCISES)} exercises solved"]
        for stage in sorted(set(EXERCISES.values())):
            names = [name for name, of in EXERCISES.items() if of == stage]
            shown = ", ".join(f"{name} ✓" if name in self.solved else name for name in names)
            lines.append(f"{stage:2}  {shown}")
        return "\n".join(lines)


def progress(
    reset: bool = False,  # Forget all that was solved
) -> Progress:  # Prints as a table
    "Which exercises you have solved, in all notebooks and since you began; it is kept on this machine alone."
    if reset:
        for name in EXERCISES:
            solved.forget(name)
    return Progress()
