"The wheel and the source archive hold what the package needs, and nothing of the notebooks."

import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

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
def built(root, tmp_path_factory):
    "A wheel built from a source archive built from the repository's tracked and new files."
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=root, capture_output=True, check=True, text=True).stdout
    for file in filter(None, files.split("\0")):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_bytes((root / file).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", dist, source]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    return wheel, sdist


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


def test_source_archive_holds_what_its_own_build_reads(built):
    with tarfile.open(built[1]) as archive:
        names = {n.partition("/")[2] for n in archive.getnames()}
    assert {"settings.ini", "setup.py", "pyproject.toml", "README.md", "LICENSE"} <= names
    assert not [n for n in names if n.startswith(("nbs", "tests", "tools"))]


def test_installed_wheel_works_in_an_empty_folder(built, offline, tmp_path):
    "In an environment of its own, which borrows the dependencies, not the repository."
    venv.create(tmp_path / "env", with_pip=False, symlinks=True)
    python = tmp_path / "env" / "bin" / "python"
    (site,) = (tmp_path / "env").glob("lib/*/site-packages")
    install = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--quiet",
    ]
    subprocess.run([*install, "--disable-pip-version-check", built[0]], check=True)
    borrowed = [p for p in sys.path if p.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed))
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
    command = [tmp_path / "env" / "bin" / "mnist_walkthrough", "--epochs", "1"]
    done = subprocess.run(command, cwd=empty, env=offline, capture_output=True, text=True)
    assert "+ own learner" in done.stdout
    assert not list(empty.iterdir())


def test_importing_loads_no_plotting_and_touches_no_cache(python, tmp_path):
    done = python(
        "import sys, mnist_walkthrough; print('matplotlib' in sys.modules, 'IPython' in sys.modules)"
    )
    assert done.stdout.split() == ["False", "False"], done.stderr
    assert not list(tmp_path.iterdir())


def test_every_public_name_is_documented():
    import mnist_walkthrough as package

    missing = [n for n in package.__all__ if not (getattr(package, n).__doc__ or "").strip()]
    assert not missing


def test_dependencies_agree():
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
