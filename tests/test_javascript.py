"The JavaScript of the package: types, lint, format, and how its modules are put together."

import re
import sys
from pathlib import Path

import pytest

from mnist_walkthrough.play import bundle

MODULES = (
    "draw_widget.js",
    "experiment_widget.js",
    "guess_page.js",
    "guess_widget.js",
    "page.js",
    "worker.js",
)


def test_types_lint_and_format(run, root):
    npm = Path(sys.executable).parent / "npm"
    done = run(npm, "run", "check", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", MODULES)
def test_a_bundle_is_one_module_that_holds_each_part_once(name, root):
    text = bundle(name)
    assert not re.search(r"^import ", text, re.M)
    functions = re.findall(r"^(?:export )?(?:async )?(?:function\*?|class) (\w+)", text, re.M)
    assert len(functions) == len(set(functions))


def test_every_module_is_used(root):
    parts = {path.name for path in (root / "mnist_walkthrough" / "js").glob("*.js")} - {*MODULES}
    text = "".join(bundle(name) for name in MODULES)
    for part in parts:
        first = re.search(r"^export (?:async )?(?:function\*?|class) (\w+)", bundle(part), re.M)
        assert first[1] in text
