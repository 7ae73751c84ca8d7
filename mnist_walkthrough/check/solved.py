"""Which exercises this reader has solved: an empty file for each, in a folder of the reader's own, so that
kernels which note and forget at once do not disturb each other."""

import os
from collections.abc import Iterable
from pathlib import Path

from platformdirs import user_data_path


def folder() -> Path:
    "`MNIST_WALKTHROUGH_PROGRESS` if that is set, else in the user's data folder; made by the first note."
    chosen = os.environ.get("MNIST_WALKTHROUGH_PROGRESS")
    return Path(chosen) if chosen else user_data_path("mnist_walkthrough") / "solved"


def note(name: str) -> None:
    "Remember that an exercise is solved; raises `OSError` where the folder cannot be written to."
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / name).touch()


def names() -> set[str]:
    "What is noted as solved; raises `OSError` where the folder cannot be read."
    try:
        return {path.name for path in folder().iterdir()}
    except FileNotFoundError:
        return set()


def forget(names: Iterable[str]) -> None:
    "As if they had not been solved; raises `OSError` where the folder cannot be written to."
    for name in names:
        (folder() / name).unlink(missing_ok=True)


def trouble(
    action: str,  # What cannot be done: "noted"
    error: OSError,
) -> str:  # In a sentence, with what to do
    "What to say where the folder does not let us."
    return (
        f"It cannot be {action} in {folder()} ({error.strerror}):\n"
        "set MNIST_WALKTHROUGH_PROGRESS to a folder that you may write to."
    )
