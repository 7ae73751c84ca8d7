"What `make results` stored belongs to the code that is here, and comes out again."

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from make_results import RESULTS, Experiment, experiments, make

from mnist_walkthrough.results import Result, made_here, stored

EXPERIMENTS = experiments()


def test_each_experiment_has_its_file_and_each_file_its_experiment():
    kept = {path.stem for path in RESULTS.glob("*.json")} - {"speed_bench"}  # by `make bench`
    assert kept == EXPERIMENTS.keys()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_runs_are_those_that_the_code_would_make(name):
    runs = stored(name).runs
    cases = EXPERIMENTS[name].cases
    assert [{k: run[k] for k in case} for run, case in zip(runs, cases, strict=True)] == cases
    assert all(run.keys() > case.keys() for run, case in zip(runs, cases, strict=True))


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_says_when_where_and_with_what(path):
    result = stored(path.stem)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result.made)
    assert {"processor", "cores", "system", "python", "torch", "package"} == result.machine.keys()
    assert path.stat().st_size < 100_000


def same_but_for_the_seed(a, b):
    return {k: v for k, v in a.items() if k != "seed"} == {
        k: v for k, v in b.items() if k != "seed"
    }


CHECKS = [(name, case) for name, e in EXPERIMENTS.items() for case in e.checks]


@pytest.mark.parametrize(
    ("name", "case"),
    CHECKS,
    ids=lambda v: "-".join(map(str, v.values())) if isinstance(v, dict) else v,
)
def test_one_run_comes_out_again(name, case, full_set, monkeypatch):
    monkeypatch.setenv("MNIST_WALKTHROUGH_MNIST", os.environ["MNIST_PNG"])
    experiment = EXPERIMENTS[name]
    like = [
        run["accuracy"]
        for run, c in zip(stored(name).runs, experiment.cases, strict=True)
        if same_but_for_the_seed(c, case)
    ]
    assert case in experiment.cases
    assert len(like) >= 5
    std, mean = torch.std_mean(torch.tensor(like, dtype=torch.float64))
    found = experiment.run(**case)["accuracy"]
    assert abs(found - mean) <= 3 * std, f"accuracy is {found}; stored: {mean:.5} ± {std:.2}"


def test_a_result_is_written_whole_and_read_again(tmp_path):
    result = made_here([{"seed": 0, "accuracy": 0.5}, {"seed": 1, "accuracy": 0.25}])
    result.save(tmp_path / "toy.json")
    assert os.listdir(tmp_path) == ["toy.json"]
    text = (tmp_path / "toy.json").read_text(encoding="utf-8")
    assert Result(**json.loads(text)) == result
    with pytest.raises(ValueError, match="JSON compliant"):
        made_here([{"accuracy": float("nan")}]).save(tmp_path / "toy.json")
    assert (tmp_path / "toy.json").read_text(encoding="utf-8") == text


def test_runs_are_found_by_their_settings():
    result = made_here([{"seed": s, "lr": lr, "loss": s * lr} for s in (0, 1) for lr in (1, 2)])
    assert result.column("loss", lr=2) == [0, 2]
    assert result.where(seed=1, lr=1) == [{"seed": 1, "lr": 1, "loss": 1}]
    assert result.column("seed") == [0, 0, 1, 1]
    with pytest.raises(KeyError, match="no run with {'lr': 3}"):
        result.where(lr=3)
    with pytest.raises(FileNotFoundError):
        stored("no_such")


def test_an_experiment_is_run_for_all_its_cases(tmp_path, monkeypatch):
    monkeypatch.setattr("make_results.RESULTS", tmp_path)
    cases = [{"seed": 0, "k": 2}, {"seed": 1, "k": 2}]
    make("toy", Experiment(lambda seed, k: {"found": seed + k}, cases))
    text = (tmp_path / "toy.json").read_text(encoding="utf-8")
    assert '"found": 2' in text
    assert '"found": 3' in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="not run: there is a CUDA device here")
def test_what_this_machine_cannot_make_is_refused_by_name(root):
    kept = (RESULTS / "scale_cuda.json").read_bytes()
    done = subprocess.run(
        [sys.executable, root / "tools" / "make_results.py", "scale_cuda"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "scale_cuda cannot be made here: there is no CUDA device" in done.stderr
    assert (RESULTS / "scale_cuda.json").read_bytes() == kept


def test_unknown_names_are_refused(root):
    done = subprocess.run(
        [sys.executable, root / "tools" / "make_results.py", "nonsense"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no experiment nonsense; there are" in done.stderr
