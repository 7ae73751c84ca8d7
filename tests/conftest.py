import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from browser import FLAGS, find_chromium, serve
from nbdev.config import get_config
from playwright.sync_api import sync_playwright

from mnist_walkthrough import mnist

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    "The repository."
    return ROOT


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    "Environment of a process that reaches no network and begins with an empty cache and no progress."
    return os.environ | {
        "PYTHONPATH": str(ROOT / "tests" / "offline"),
        "MNIST_WALKTHROUGH_CACHE": str(tmp_path_factory.mktemp("cache")),
        "MNIST_WALKTHROUGH_PROGRESS": str(tmp_path_factory.mktemp("solved")),
    }


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    "The tests neither use nor fill the user's cache and progress."
    patch = pytest.MonkeyPatch()
    patch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path_factory.mktemp("cache")))
    patch.setenv("MNIST_WALKTHROUGH_PROGRESS", str(tmp_path_factory.mktemp("solved")))
    yield
    patch.undo()


@pytest.fixture(autouse=True)
def same_start():
    "Nets that a test makes without a generator begin alike each time: not with dead units by chance."
    torch.manual_seed(1)


@pytest.fixture(scope="session")
def full_set(own_cache):
    "The full MNIST, from the folder or archive that MNIST_PNG names."
    if not os.environ.get("MNIST_PNG"):
        pytest.skip("not run: needs the full MNIST as PNGs, named by MNIST_PNG")
    return mnist(os.environ["MNIST_PNG"])


@pytest.fixture
def run(offline, tmp_path):
    "Run a command offline in an empty folder; returns the finished process with its output as text."

    def call(*command, **options):
        options = {"cwd": tmp_path, "env": offline, "timeout": 600} | options
        return subprocess.run(command, capture_output=True, text=True, **options)

    return call


@pytest.fixture
def python(run):
    "Run Python code in a fresh process, offline, in an empty folder."
    return lambda code, **options: run(sys.executable, "-c", code, **options)


@pytest.fixture(scope="session")
def playwright():
    with sync_playwright() as playwright:
        yield playwright


@pytest.fixture(scope="session")
def chromium(playwright):
    "The path of a Chromium or Chrome that starts; one is installed if there is none."
    return find_chromium(playwright.chromium.executable_path)


@pytest.fixture(scope="session")
def browser(playwright, chromium):
    "A browser that reaches no host but this one."
    browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="session")
def site_folder(tmp_path_factory, offline):
    "The site as `make docs` builds it, from a copy of the repository."
    copy = tmp_path_factory.mktemp("site")
    for folder in ("nbs", "docs", "mnist_walkthrough"):
        shutil.copytree(ROOT / folder, copy / folder)
    for file in ("settings.ini", "Makefile"):
        shutil.copy(ROOT / file, copy)
    made = "--old-file=.venv/dev"  # the environment stands where the tests run
    command = ["make", "docs", made, f"BIN={Path(sys.executable).parent}"]
    done = subprocess.run(command, cwd=copy, env=offline, capture_output=True, text=True)
    assert done.returncode == 0, f"make docs failed:\n{done.stdout}{done.stderr}"
    return copy / "_docs"


@pytest.fixture(scope="session")
def site(site_folder):
    "The address of the site, served at the path that it has when it is published."
    with serve(site_folder, f"{get_config().doc_baseurl}/") as url:
        yield url
