"The bench measures who does the stated work on the stated threads, and names everybody else."

import json
import os
import re
import subprocess
import sys

import pytest
from bench import run as bench

from mnist_walkthrough import digits
from mnist_walkthrough.results import Result

CONTENDERS = {contender.name: contender for contender in bench.CONTENDERS}
OWN = [c for c in bench.CONTENDERS if c.environment is None]


@pytest.fixture
def job(tmp_path, monkeypatch):
    "The work on the shipped digits: many small steps, so that orders differ little."
    monkeypatch.setattr(bench, "BUILD", tmp_path)
    return bench.make_job(digits() / "training", batch_size=4, threads=1) | {"lr": 0.01}


@pytest.fixture
def fake(tmp_path, monkeypatch):
    "A contender that is numpy's with some methods of its own; numpy's itself is the reference."
    monkeypatch.setattr(bench, "REFERENCE", "numpy")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "contenders").mkdir()

    def make(code):
        head = "import os, sys, threading, time\nimport numpy as np\nfrom contenders import numpy\n"
        head += "class Contender(numpy.Contender):\n    "
        (tmp_path / "contenders" / "fake.py").write_text(head + code.replace("\n", "\n    "))
        return bench.Contender("fake", "the fake", ("numpy",))

    return make


def refusal(entries, name="fake"):
    return next(entry.refused for entry in entries if entry.contender.name == name)


def test_own_contenders_do_the_same_work(job):
    entries = bench.race(OWN, job, rounds=2)
    assert [(e.contender.name, e.refused) for e in entries if e.refused] == []
    assert {len(e.runs) for e in entries} == {2}
    for e in entries:
        assert e.losses == [None] * 4 if e.contender.name == "products" else e.losses[-1] < 1
    result = bench.collect(entries)
    assert set(result.column("ratio", contender="torch nn, vectorised loader")) == {1.0}
    assert bench.table(result).count("\n") == len(OWN)
    assert [text.get_text() for text in bench.show_bench(result).axes[0].get_yticklabels()]


WRONG = {
    "def epoch(self):\n    pass": "does other work: loss after 1 epochs 2.3",
    "def epoch(self):\n    self.y = self.y[: 500]\n    super().epoch()": "does other work: loss after",
    "def epoch(self):\n    self.lr = 0.001\n    super().epoch()": "does other work: loss after 1",
    "n = 0\ndef epoch(self):\n    self.n += 1\n    if self.n == 1:\n        super().epoch()": "loss after 2",
    "def weights(self):\n    return [0 * w for w in self.params]": "does other work: loss after 0",
    "weights = property()": "does other work: loss after 0 epochs not known, not 2.3",
    "def epoch(self):\n    raise ValueError('no more')": "fails: ValueError: no more",
    "n = 0\ndef epoch(self):\n    self.n += 1\n    if self.n == 2:\n        os._exit(3)": "fails: no word of why",
    "def __init__(self, work):\n    import no_such_peer": "fails: ModuleNotFoundError: No module named 'no_such_peer'",
}


@pytest.mark.parametrize("code", WRONG)
def test_who_does_other_work_is_refused(job, fake, code):
    entries = bench.race([CONTENDERS["numpy"], fake(code)], job, rounds=2)
    assert WRONG[code] in refusal(entries)
    assert refusal(entries, "numpy") == ""
    table = bench.table(bench.collect(entries))
    assert f"not in the table: the fake {refusal(entries)}" in table


def test_what_a_contender_prints_is_no_answer(job, fake):
    noisy = fake(
        "def epoch(self):\n    print('{}')\n    os.write(1, b'{}\\n')\n    super().epoch()"
    )
    assert refusal(bench.race([CONTENDERS["numpy"], noisy], job, rounds=1)) == ""


def test_who_gives_no_answer_is_not_waited_for(job, fake, monkeypatch):
    monkeypatch.setattr(bench, "TIMEOUT", 5)
    silent = fake("def epoch(self):\n    time.sleep(1000)")
    entries = bench.race([CONTENDERS["numpy"], silent], job, rounds=1)
    assert refusal(entries) == "gives no answer within 5 s"
    assert entries[1].process.returncode is not None


def test_who_keeps_more_cores_busy_is_refused(job, fake):
    greedy = fake("time.process_time = lambda: 20 * time.perf_counter()")
    entries = bench.race([CONTENDERS["numpy"], greedy], job, rounds=1)
    assert refusal(entries) == "keeps 20.00 cores busy, stated: 1"


def test_clocks_that_disagree_by_a_tick_refuse_nobody(job, fake):
    ticking = fake("""time.process_time = lambda: time.perf_counter() + Contender.late
late = 0
def epoch(self):
    super().epoch()
    Contender.late += 0.01""")
    assert refusal(bench.race([CONTENDERS["numpy"], ticking], job, rounds=1)) == ""


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="not run: no process is pinned here"
)
@pytest.mark.parametrize("threads", sorted({1, min(2, bench.n_cores())}))
def test_a_contender_is_kept_to_its_threads(job, fake, threads):
    kept = fake(f"""def __init__(self, work):
    super().__init__(work)
    assert len(os.sched_getaffinity(0)) == {threads}
    assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == '{threads}'
""")
    assert refusal(bench.race([CONTENDERS["numpy"], kept], job | {"threads": threads}, 1)) == ""


def test_the_slowest_take_part_in_fewer_rounds(job, fake, monkeypatch):
    monkeypatch.setattr(bench, "BUDGET", 0)
    entries = bench.race([CONTENDERS["numpy"], fake("pass")], job, rounds=5)
    assert [len(entry.runs) for entry in entries] == [5, 3]
    assert refusal(entries) == ""


def test_without_a_reference_there_is_no_table(job, fake, monkeypatch):
    monkeypatch.setattr(bench, "REFERENCE", "fake")
    with pytest.raises(SystemExit, match="no reference: it does not train"):
        bench.race([fake("def epoch(self):\n    pass")], job, rounds=1)


def test_who_cannot_be_installed_is_named(job, fake, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    (folder / "requirements").mkdir(parents=True)
    (folder / "worker.py").symlink_to(bench.HERE / "worker.py")
    (folder / "requirements" / "peer.txt").write_text(f"peer @ file://{tmp_path}/nowhere\n")
    monkeypatch.setattr(bench, "HERE", folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(bench.HERE.parent)]))
    entry = bench.Entry(fake("pass")._replace(environment="peer"), job)
    entry.attempt(entry.start)
    assert "cannot be installed: ERROR: " in entry.refused
    assert "nowhere" in entry.refused


def test_a_ratio_compares_epochs_of_one_round(job):
    reference, other = (bench.Entry(CONTENDERS[n], job) for n in (bench.REFERENCE, "numpy"))
    rest = {"cores": 1.0, "loss": 0.4}
    reference.runs = [{"round": i, "seconds": s} | rest for i, s in enumerate((1, 2, 4, 8, 16))]
    other.runs = [{"round": i, "seconds": s} | rest for i, s in ((1, 1), (3, 2), (4, 16))]
    result = bench.collect([reference, other])
    assert result.column("ratio", contender="numpy by hand") == [0.5, 0.25, 1.0]
    assert result.column("ratio", contender="torch nn, vectorised loader") == [1.0] * 5
    assert Result(**json.loads(json.dumps(vars(result)))) == result
    rows = bench.table(result).splitlines()[1:]
    assert rows[0].startswith("numpy by hand")
    assert "0.50 (0.38 to 0.75)" in rows[0]
    assert "1.00 (1.00 to 1.00)" in rows[1]


def test_every_contender_has_its_files():
    assert len(CONTENDERS) == len(bench.CONTENDERS)
    for contender in bench.CONTENDERS:
        assert (bench.HERE / "contenders" / f"{contender.name}.py").is_file()
    pins = {c.environment for c in bench.CONTENDERS if c.environment}
    assert {p.stem for p in (bench.HERE / "requirements").iterdir()} == pins


def test_requirements_are_pinned(root):
    torch = re.search(r"^torch==\S+", (root / "constraints.txt").read_text(), re.M)[0]
    for file in (bench.HERE / "requirements").iterdir():
        lines = file.read_text().splitlines()
        assert all(
            re.fullmatch(r"[\w.-]+==[\w.]+|\w+ @ git\+https\S+@[0-9a-f]{40}", x) for x in lines
        )
        assert {line for line in lines if line.startswith("torch==")} <= {torch}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "ours,nonsense"], "no contender nonsense; there are products, "),
        (["--only", "ours", "--save"], "--save is for a run of all contenders"),
        (["--threads", "0"], "--threads is from 1 to"),
        (["--rounds", "0"], "--rounds is 1 or more"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options, message):
    command = [sys.executable, bench.HERE / "run.py", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert message in done.stderr


def test_without_mnist_it_says_what_to_do(offline):
    command = [sys.executable, bench.HERE / "run.py"]
    env = offline | {"MNIST_WALKTHROUGH_MNIST": ""}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        "If you have it, name it: mnist(source), or MNIST_WALKTHROUGH_MNIST=source" in done.stderr
    )
    assert "Traceback" not in done.stderr
