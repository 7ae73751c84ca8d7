"A short run of the fuzzer on each reader, which finds nothing; and faults that it finds."

import re
import sys

import pytest

pytest.importorskip("atheris", reason="not run: needs atheris, which is there for Linux only")


@pytest.mark.parametrize("target", ["png", "idx", "tar"])
def test_a_short_run_finds_nothing(run, root, target, tmp_path):
    fuzzer = root / "tools" / "fuzz.py"
    limits = ["--runs", "500", "--seconds", "300"]
    done = run(sys.executable, fuzzer, target, *limits, "--kept", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(re.search(r"^Done (\d+) runs", done.stderr, re.M)[1]) >= 500
    assert {path.name for path in tmp_path.iterdir()} == {target}, "no file is kept as a finding"


@pytest.mark.parametrize(
    ("target", "fault", "words"),
    [
        ("png", "data.ORDER = re.compile(b'.*', re.S)", "with Pillow another thing"),
        ("tar", "data.IMAGE_NAME = re.compile('.*/.*png', re.S)", "AssertionError"),
    ],
)
def test_a_fault_is_found(python, root, tmp_path, target, fault, words):
    code = (
        f"import re, sys; sys.path.insert(0, {str(root / 'tools')!r}); import fuzz; from pathlib import Path\n"
        f"from fuzz import data; {fault}\n"
        f"fuzz.fuzz({target!r}, 300, Path('kept'))"
    )
    done = python(code)
    assert done.returncode, done.stderr[-3000:]
    assert words in done.stdout + done.stderr
    (found,) = (tmp_path / "kept").glob(f"{target}-crash-*")
    assert found.stat().st_size
