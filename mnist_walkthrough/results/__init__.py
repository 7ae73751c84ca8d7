"Runs that take minutes: what they found, kept in small files that `make results` makes and the pages read."

import json
import os
import platform
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

__all__ = ["Result", "made_here", "stored"]

Run = dict[str, Any]  # The settings of a run and what it found, by their names


@dataclass(frozen=True)
class Result:
    "All runs of one experiment."

    made: str  # Day of the last run, ISO 8601
    machine: dict[str, Any]  # Where, and with which versions
    runs: list[Run]

    def where(
        self,
        **settings: Any,  # What a run must have been given, or found
    ) -> list[Run]:
        "The runs with these settings; raises `KeyError` when there is none."
        found = [run for run in self.runs if settings.items() <= run.items()]
        if not found:
            raise KeyError(
                f"no run with {settings}; a run has {self.runs[0] if self.runs else 'not been made'}"
            )
        return found

    def column(
        self,
        key: str,  # A setting or a finding
        **settings: Any,  # Of which runs; all when there are none
    ) -> list[Any]:
        "One value of each run; raises `KeyError` when there is none."
        return [run[key] for run in self.where(**settings)]

    def caption(self) -> str:
        "When and where the runs were made, in a line."
        m = self.machine
        return f"{self.made}, {m['processor']}, {m['cores']} cores, torch {m['torch']}"

    def save(self, path: Path) -> None:
        "Write as JSON, a run a line, whole or not at all."
        runs = ",\n".join(f"  {json.dumps(run, allow_nan=False)}" for run in self.runs)
        text = f'{{"made": "{self.made}",\n "machine": {json.dumps(self.machine)},\n "runs": [\n{runs}\n]}}\n'
        partial = path.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)


def stored(
    name: str,  # Of an experiment, such as "accuracy_headline"
) -> Result:
    "What an experiment found, from the package; raises `FileNotFoundError` when no such file is kept."
    text = (files("mnist_walkthrough") / "results" / f"{name}.json").read_text(encoding="utf-8")
    return Result(**json.loads(text))


def processor() -> str:
    "The name of the processor."
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def made_here(
    runs: list[Run],
) -> Result:
    "Runs that were made now, on this machine."
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    machine = {
        "processor": processor(),
        "cores": cores,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__.partition("+")[0],
        "package": version("mnist_walkthrough"),
    }
    return Result(date.today().isoformat(), machine, runs)
