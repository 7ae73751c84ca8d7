"Which exercises this reader has solved: an empty file for each, in a folder of the reader's own."

import os
from pathlib import Path

from platformdirs import user_data_path


def folder() -> Path:
    "`MNIST_WALKTHROUGH_PROGRESS` if that is set, else in the user's data folder; made by the first note."
    chosen = os.environ.get("MNIST_WALKTHROUGH_PROGRESS")
    return Path(chosen) if chosen else user_data_path("mnist_walkthrough") / "solved"


def note(name: str) -> None:
    "Remember that an exercise is solved."
    folder().mkdir(parents=True, exist_ok=True)
    (folder() / name).touch()


def names() -> set[str]:
    "The exercises that are solved."
    return {path.name for path in folder().iterdir()} if folder().is_dir() else set()


def forget(name: str) -> None:
    "As if it had not been solved."
    (folder() / name).unlink(missing_ok=True)
