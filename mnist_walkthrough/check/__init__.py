"""Checks for the exercises: `check.linear(your_class)` runs it and says what is wrong, and for which input.

A check knows what an exercise asks for, not how ours does it: it runs the reader's own object on many
cases and compares with torch, or with what the exercise's text promises."""

import textwrap

from mnist_walkthrough.check import solved
from mnist_walkthrough.check.accuracy import (
    best_of,
    calm_start,
    mixup_loss,
    paired_gain,
    trapezoid,
)
from mnist_walkthrough.check.core import EXERCISES, Verdict
from mnist_walkthrough.check.convnet import (
    average_pool,
    fold,
    fuse,
    receptive_field,
    shift_kernel,
)
from mnist_walkthrough.check.data import (
    decode_grey,
    filter_row,
    first_per_class,
    png_chunk,
    reversed_names,
    silent_flip,
)
from mnist_walkthrough.check.learner import (
    cosine_rate,
    large_step,
    lr_find,
    predict_all,
    stop_at_best,
    three_rates,
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
from mnist_walkthrough.check.gradients import (
    kink,
    order,
    rows_backward,
    sigmoid_backward,
    softmax_backward,
)
from mnist_walkthrough.check.inspect import accuracy_when_sure, convince, occlusion, twin
from mnist_walkthrough.check.metric import (
    mcnemar,
    merge_halves,
    misleading_batches,
    precision_recall_f1,
    top2_accuracy,
)
from mnist_walkthrough.check.net import (
    batch_norm,
    dropout,
    leaky_relu,
    linear,
    same_function,
    weight_std,
)
from mnist_walkthrough.check.optimizer import (
    adam,
    clip_gradients,
    momentum,
    nesterov,
    penalty,
    rescuing_rate,
)
from mnist_walkthrough.check.play import (
    average_over_shifts,
    centre_of_mass,
    lost_ink,
    one_pixel,
    shift,
)
from mnist_walkthrough.check.scale import (
    combine_gradients,
    my_rows,
    resumable,
    shuffled,
    small_shards,
)
from mnist_walkthrough.check.speed import (
    fooled_rulers,
    gradient_from_bytes,
    multiplications,
    needed_factor,
    one_buffer,
)

__all__ = [
    "EXERCISES",
    "Progress",
    "Verdict",
    "accuracy_when_sure",
    "adam",
    "average_over_shifts",
    "average_pool",
    "balanced_rows",
    "batch_norm",
    "best_of",
    "binary_cross_entropy",
    "calm_start",
    "centre_of_mass",
    "clip_gradients",
    "combine_gradients",
    "convince",
    "cosine_rate",
    "decode_grey",
    "dropout",
    "filter_row",
    "first_per_class",
    "fold",
    "fooled_rulers",
    "fuse",
    "gradient_from_bytes",
    "kink",
    "label_smoothing",
    "large_step",
    "leaky_relu",
    "linear",
    "logsumexp",
    "lost_ink",
    "lr_find",
    "mcnemar",
    "merge_halves",
    "misleading_batches",
    "mixup_loss",
    "momentum",
    "multiplications",
    "my_rows",
    "nan_gradient",
    "needed_factor",
    "nesterov",
    "occlusion",
    "one_buffer",
    "one_pixel",
    "order",
    "paired_gain",
    "penalty",
    "png_chunk",
    "precision_recall_f1",
    "predict_all",
    "progress",
    "receptive_field",
    "rescuing_rate",
    "resumable",
    "reversed_names",
    "rows_backward",
    "same_function",
    "shift",
    "shift_kernel",
    "shuffled",
    "shuffling_loader",
    "sigmoid_backward",
    "silent_flip",
    "small_shards",
    "softmax_backward",
    "split_by_class",
    "standardise",
    "stop_at_best",
    "three_rates",
    "top2_accuracy",
    "trapezoid",
    "twin",
    "wasteful_batch_size",
    "weight_std",
    "weighted_cross_entropy",
]


class Progress:
    "The exercises and which of them are solved, as a table."

    def __init__(
        self,
        said: str = "",  # What was forgotten
    ) -> None:
        self.said, self.solved = said, set[str]()
        try:
            self.solved = solved.names() & set(EXERCISES)
        except OSError as error:
            self.said = said or solved.trouble("read", error)

    def __repr__(self) -> str:
        lines = [f"{len(self.solved)} of {len(EXERCISES)} exercises solved"]
        if self.said:
            lines.append(self.said)
        for stage in sorted(set(EXERCISES.values())):
            names = [name for name, of in EXERCISES.items() if of == stage]
            ticked = (
                f"{name}\N{NO-BREAK SPACE}✓" if name in self.solved else name for name in names
            )
            line = f"{stage:2}  {', '.join(ticked)}"
            lines.append(textwrap.fill(line, 88, subsequent_indent="    ", break_long_words=False))
        return "\n".join(lines)


def progress(
    reset: bool = False,  # Forget all that was solved
) -> Progress:  # Prints as a table
    "Which exercises you have solved, in all notebooks and since you began; it is kept on this machine alone."
    if not reset:
        return Progress()
    try:
        mine = solved.names() & set(EXERCISES)
        solved.forget(mine)
    except OSError as error:
        return Progress(solved.trouble("forgotten", error))
    return Progress(f"Forgot {len(mine)} that were noted in {solved.folder()}")
