"The wheel and the source archive hold what the package needs, and nothing of the notebooks."

import email
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from nbdev.config import get_config

MODULES = [
    "__init__",
    "_modidx",
    "accuracy",
    "cli",
    "convnet",
    "data",
    "distributed",
    "gradients",
    "guess",
    "inspect",
    "learner",
    "loader",
    "loss",
    "metric",
    "net",
    "optimizer",
    "play",
    "scale",
    "speed",
]
DATA = ["digits.csv", "digits.md", "digits.zip", "py.typed"]


@pytest.fixture(scope="module")
def source(root, tmp_path_factory):
    "A copy of the repository's tracked and new files."
    copy = tmp_path_factory.mktemp("source")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=root, capture_output=True, check=True, text=True).stdout
    for file in filter(None, files.split("\0")):
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        (copy / file).write_bytes((root / file).read_bytes())
    return copy


def build(*options):
    "Run `python -m build`, which gives a source archive and a wheel from it; either alone if an option says so."
    command = [sys.executable, "-m", "build", "--no-isolation", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    "The wheel and the source archive."
    dist = tmp_path_factory.mktemp("dist")
    build("--outdir", dist, source)
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def environment(built, tmp_path_factory):
    "An environment with the wheel, which borrows the dependencies, not the repository."
    env = tmp_path_factory.mktemp("env")
    venv.create(env, with_pip=False, symlinks=True)
    (site,) = env.glob("lib/*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", env / "bin" / "python", "install", "--no-deps"]
    options = ["--no-index", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *options, built[0]], check=True)
    borrowed = [p for p in sys.path if p.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
    return env


def content(wheel):
    "Every file of a wheel, but for the list of them."
    with zipfile.ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return {name: data for name, data in files.items() if not name.endswith("/RECORD")}


def test_wheel_holds_the_package_and_nothing_else(built, root):
    names = zipfile.ZipFile(built[0]).namelist()
    package = {
        n.removeprefix("mnist_walkthrough/") for n in names if n.startswith("mnist_walkthrough/")
    }
    tools = {f"js/{path.name}" for path in root.glob("mnist_walkthrough/js/*")}
    checks = {f"check/{path.name}" for path in root.glob("mnist_walkthrough/check/*.py")}
    results = {f"results/{path.name}" for path in root.glob("mnist_walkthrough/results/*.*")}
    assert package == {f"{m}.py" for m in MODULES} | set(DATA) | tools | checks | results
    assert {n.split("/")[0].split("-")[0] for n in names} == {"mnist_walkthrough"}
    assert any(n.endswith("licenses/LICENSE") for n in names)


def test_the_wheels_files_are_the_repositorys(built, root):
    files = {n: data for n, data in content(built[0]).items() if n.startswith("mnist_walkthrough/")}
    assert not [name for name, data in files.items() if data != (root / name).read_bytes()]


def test_the_wheel_is_the_same_without_the_source_archive(built, source, tmp_path):
    build("--wheel", "--outdir", tmp_path, source)
    (wheel,) = tmp_path.glob("*.whl")
    assert content(wheel) == content(built[0])


def test_source_archive_holds_what_its_own_build_reads(built):
    with tarfile.open(built[1]) as archive:
        members = archive.getmembers()
    names = {m.name.partition("/")[2] for m in members if m.isfile()}
    made = {"PKG-INFO", "setup.cfg"}
    read = {"settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"}
    outside = {
        n for n in names if not n.startswith(("mnist_walkthrough/", "mnist_walkthrough.egg"))
    }
    assert outside == made | read
    inside = {n for n in names if n.startswith("mnist_walkthrough/")}
    assert inside == {n for n in content(built[0]) if n.startswith("mnist_walkthrough/")}
    assert all(m.isfile() or m.isdir() for m in members)


def test_the_wheel_says_what_settings_ini_says(built):
    (name,) = (n for n in content(built[0]) if n.endswith("/METADATA"))
    said, config = email.message_from_bytes(content(built[0])[name]), get_config()
    assert (said["Name"], said["Version"]) == (config.lib_name, config.version)
    assert said["Requires-Python"] == f">={config.min_python}"
    needed = [n for n in said.get_all("Requires-Dist") if "extra ==" not in n]
    assert sorted(needed) == sorted(config.requirements.split())
    assert set(said.get_all("Provides-Extra")) == {"dev", "widget", "onnx"}


def test_the_pythons_that_the_wheel_names_are_those_that_the_workflow_tries(built, root):
    pythons = get_config().pythons.split()
    assert pythons[0] == get_config().min_python
    (name,) = (n for n in content(built[0]) if n.endswith("/METADATA"))
    said = email.message_from_bytes(content(built[0])[name]).get_all("Classifier")
    assert [c.split(" :: ")[-1] for c in said if re.search(r":: \d", c)] == pythons
    jobs = yaml.safe_load((root / ".github/workflows/test.yml").read_text("utf-8"))["jobs"]
    tried = [job["strategy"]["matrix"]["python"] for job in jobs.values() if "strategy" in job]
    assert tried == [pythons, pythons]


def test_installed_wheel_works_in_an_empty_folder(environment, offline, tmp_path):
    python = environment / "bin" / "python"
    (site,) = environment.glob("lib/*/site-packages")
    empty = tmp_path / "empty"
    empty.mkdir()
    code = (
        "import mnist_walkthrough as m; print(m.__file__); print(*map(callable, map(m.__dict__.get, m.__all__)));"
        "print(m.ImageDataset(m.digits() / 'training'));"
        "from mnist_walkthrough.play import DrawDigit; print(len(DrawDigit._esm));"
        "from mnist_walkthrough import check; print(len(check.progress().solved), check.linear(None))"
    )
    env = offline | {"MNIST_WALKTHROUGH_PROGRESS": str(tmp_path / "solved")}
    done = subprocess.run([python, "-c", code], cwd=empty, env=env, capture_output=True, text=True)
    where, public, data, module, exercises = done.stdout.splitlines()[:5]
    assert where.startswith(str(site))
    assert set(public.split()) == {"True"}
    assert "1000 images 28 x 28" in data
    assert int(module) > 5000
    assert exercises.startswith("0 linear: not yet: ")
    command = [environment / "bin" / "mnist_walkthrough", "--epochs", "1"]
    done = subprocess.run(command, cwd=empty, env=offline, capture_output=True, text=True)
    assert "+ own learner" in done.stdout
    assert not list(empty.iterdir())


def readme_example(root):
    (code,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text("utf-8"), re.S)
    return code


def test_the_readmes_example_runs_as_it_stands(environment, offline, root, tmp_path):
    run = [environment / "bin" / "python", "-W", "error", "-c", readme_example(root)]
    done = subprocess.run(run, cwd=tmp_path, env=offline, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    row = re.compile(r"^ +(\d+ +[\d.]+ +[\d.]+ +[\d.]+) +[\d.]+ s$", re.M)  # but for the time
    shown = row.findall((root / "README.md").read_text("utf-8"))
    assert row.findall(done.stdout) == shown != []


USER = """
from pathlib import Path
from torch import Tensor, nn
from mnist_walkthrough import *

class Watch(Callback):
    def after_epoch(self, loop: object) -> None:
        pass

def error_rate(logits: Tensor, target: Tensor) -> Tensor:
    return 1 - accuracy(logits, target)

def train(folder: Path, net: nn.Module) -> float:
    train, valid = ImageDataset(folder / "training"), ImageDataset(folder / "testing")
    learner = Learner(
        train_dl=DataLoader(train, batch_size=64, shuffle=True),
        valid_dl=DataLoader(valid, batch_size=1000),
        model=net,
        optimizer=SGD(net.parameters(), lr=0.1, momentum=0.9),
        loss_fn=cross_entropy,
        metrics=[accuracy, error_rate],
        callbacks=[Watch(), EarlyStop(2), StopOnNonFinite()],
    )
    learner.fit(1)
    learner.save(folder / "net.safetensors")
    scores: Tensor = learner.predict(valid.x)
    return float(accuracy(scores, valid.y))

for net in (mlp(784, 30, 10), Sequential(Linear(784, 10), ReLU()), nn.Linear(784, 10)):
    train(digits(), net)
"""
WRONG = {
    "train(digits(), 3)": "arg-type",
    "rate: int = binomial_interval(90, 100)": "assignment",
    "DataLoader(ImageDataset(mnist()), size=64)": "call-arg",
    "digits().nowhere": "attr-defined",
}


def test_who_imports_it_may_check_types_strictly(environment, tmp_path):
    "Against the installed wheel, whose py.typed says that it has types: what fits passes, what does not is found."
    (tmp_path / "user.py").write_text("\n".join([USER, *WRONG]) + "\n")
    python = ["--python-executable", environment / "bin" / "python"]
    command = [Path(sys.executable).parent / "mypy", "--strict", *python, "user.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    first = USER.count("\n") + 2
    found = re.findall(r"^user\.py:(\d+): error: .*\[(.+)\]$", done.stdout, re.M)
    assert found == [(str(first + i), kind) for i, kind in enumerate(WRONG.values())], done.stdout


HEAVY = [
    "matplotlib",
    "IPython",
    "pandas",
    "scipy",
    "torchvision",
    "pooch",
    "requests",
    "anywidget",
]


def test_importing_loads_no_plotting_and_touches_no_cache(python, tmp_path):
    done = python(f"import sys, mnist_walkthrough; print({{*sys.modules}} & {{*{HEAVY}}})")
    assert done.stdout.split() == ["set()"], done.stderr
    assert not list(tmp_path.iterdir())


def test_a_run_that_shows_no_picture_loads_no_plotting(python, root):
    code = f"{readme_example(root)}\nimport sys; print('matplotlib' in sys.modules)"
    assert python(code).stdout.split()[-1] == "False"


def test_importing_costs_little_more_than_torch(python):
    "In processor time, which a busy machine stretches least; the best of three."
    code = (
        "from time import process_time as now; start = now(); import torch; middle = now();"
        "import mnist_walkthrough; print((now() - start) / (middle - start))"
    )
    assert min(float(python(code).stdout) for _ in range(3)) < 1.2


def test_dependencies_agree():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
