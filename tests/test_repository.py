"What is generated is what it is generated from; lint and types pass."

import filecmp
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

BIN = Path(sys.executable).parent
HANDWRITTEN = {"__init__.py", "cli.py", "distributed.py", "guess.py"}


def test_package_is_what_the_notebooks_export(root, tmp_path):
    copy = tmp_path / "copy"
    package = copy / "mnist_walkthrough"
    shutil.copytree(root / "nbs", copy / "nbs")
    shutil.copytree(
        root / "mnist_walkthrough", package, ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copy(root / "settings.ini", copy)
    for module in package.glob("*.py"):
        if module.name not in HANDWRITTEN:
            module.unlink()
    subprocess.run([BIN / "nbdev_export"], cwd=copy, check=True)
    names = {p.name for p in package.glob("*.py")}
    assert names == {p.name for p in (root / "mnist_walkthrough").glob("*.py")}
    _, different, missing = filecmp.cmpfiles(
        package, root / "mnist_walkthrough", names, shallow=False
    )
    assert (different, missing) == ([], [])


def test_a_module_imports_only_modules_before_it(root):
    stages = [re.sub(r"^\d+_", "", p.stem) for p in sorted((root / "nbs").glob("[0-9]*.ipynb"))]
    for i, stage in enumerate(stages):
        source = (root / "mnist_walkthrough" / f"{stage}.py").read_text(encoding="utf-8")
        used = set(re.findall(r"from mnist_walkthrough\.(\w+) import", source))
        assert used <= set(stages[:i]), f"{stage} imports {used - set(stages[:i])}"


def test_readme_is_what_the_index_gives(root, tmp_path):
    subprocess.run([sys.executable, root / "tools" / "make_readme.py", tmp_path], check=True)
    assert (tmp_path / "README.md").read_text() == (root / "README.md").read_text()
    made, kept = (
        {p.name: p.read_bytes() for p in d.glob("README_files/*")} for d in (tmp_path, root)
    )
    assert made == kept
    assert made


@pytest.mark.parametrize("page", ["README.md", "nbs/index.ipynb"])
def test_links_of_the_home_page_lead_somewhere(root, page):
    text = (root / page).read_text(encoding="utf-8")
    links = {link for link in re.findall(r"\]\(([^)#]+)", text) if not link.startswith("http")}
    assert len(links) > 7
    assert not [link for link in links if not ((root / page).parent / link).exists()]


def test_pictures_of_the_readme_have_a_text(root):
    texts = re.findall(r"!\[(.*?)\]", (root / "README.md").read_text(encoding="utf-8"))
    assert texts
    assert all(len(text) > 40 for text in texts)


@pytest.mark.parametrize(
    "command", [["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]], ids=" ".join
)
def test_lint_format_types(root, command):
    done = subprocess.run(
        [BIN / command[0], *command[1:]], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_version_is_one(root):
    version = re.search(r"^version = (.+)$", (root / "settings.ini").read_text(), re.M)[1]
    assert f'__version__ = "{version}"' in (root / "mnist_walkthrough" / "__init__.py").read_text()


def test_version_is_that_of_the_citation_and_of_the_changelogs_first_entry(root):
    version = re.search(r"^version = (.+)$", (root / "settings.ini").read_text(), re.M)[1]
    assert yaml.safe_load((root / "CITATION.cff").read_text())["version"] == version
    entries = re.findall(r"^## \[(.+?)\]", (root / "CHANGELOG.md").read_text(), re.M)
    assert entries[0] == version


def test_each_promise_names_the_tests_that_hold_it(root):
    text = (root / "docs" / "promises.md").read_text("utf-8")
    promised, _, others = text.partition("## Not promised")
    lines = [line for line in promised.splitlines() if line.startswith("- ")]
    assert len(lines) > 20
    assert others.count("\n- ") > 4
    for line in lines:
        files = re.search(r"\. \(((?:`test_\w+\.py`(?:, )?)+)\)$", line)
        assert files, line
        for name in re.findall(r"test_\w+\.py", files[1]):
            assert (root / "tests" / name).is_file(), line


def workflows(root):
    return {path.stem: path.read_text("utf-8") for path in root.glob(".github/workflows/*.yml")}


def test_workflows_name_every_action_by_its_commit(root):
    used = re.findall(r"uses: *(.*)", "\n".join(workflows(root).values()))
    assert used
    pinned = [re.fullmatch(r"([\w/-]+)@([0-9a-f]{40}) # v\d+\.\d+\.\d+", use) for use in used]
    assert all(pinned), used
    assert len(set(used)) == len({match[1] for match in pinned})  # one commit of each


def test_workflows_may_read_and_two_jobs_write(root):
    writes = {}
    for name, text in workflows(root).items():
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}, name
        for job, steps in workflow["jobs"].items():
            if "permissions" in steps:
                writes[f"{name} {job}"] = steps["permissions"]
            keeps = [s for s in steps["steps"] if "checkout" in s.get("uses", "")]
            assert all(step["with"] == {"persist-credentials": False} for step in keeps), name
    assert writes == {
        "docs publish": {"contents": "write"},
        "release publish": {"id-token": "write"},
    }


def test_the_workflows_make_what_there_is_to_make(root):
    made = re.findall(r"^([\w-]+):.*##", (root / "Makefile").read_text(), re.M)
    asked = {n for text in workflows(root).values() for n in re.findall(r"run: make (\w+)", text)}
    assert {"docs", "test", "fuzz", "soak"} <= asked <= set(made)


def test_what_is_installed_is_pinned(root):
    "On Linux, all that the package needs with its extra `dev`, and what that needs in turn; not the libraries of GPUs."
    pinned = set(
        map(canonicalize_name, re.findall(r"^(.+)==", (root / "constraints.txt").read_text(), re.M))
    )
    linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    needed, todo = set(), [("mnist_walkthrough", "dev")]
    while todo:
        name, extra = todo.pop()
        for requirement in map(Requirement, metadata.requires(name) or []):
            fits = requirement.marker is None or requirement.marker.evaluate(
                linux | {"extra": extra}
            )
            other = canonicalize_name(requirement.name)
            if (
                fits
                and other not in needed
                and not other.startswith(("nvidia-", "cuda-", "triton"))
            ):
                needed.add(other)
                todo += [(other, extra) for extra in requirement.extras or {""}]
    assert len(needed) > 100
    assert not needed - pinned


def test_the_workflows_list_of_tests_exists(root):
    listed = (root / ".github" / "package_tests.txt").read_text().split()
    assert all((root / name).is_file() for name in listed)
