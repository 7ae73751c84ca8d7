import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import FLAGS, find_chromium
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def root():
    "The repository."
    return ROOT


@pytest.fixture(scope="session")
def offline(tmp_path_factory):
    "Environment of a process that reaches no network and begins with an empty cache."
    return os.environ | {
        "PYTHONPATH": str(ROOT / "tests" / "offline"),
        "MNIST_WALKTHROUGH_CACHE": str(tmp_path_factory.mktemp("cache")),
    }


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    "The tests neither use nor fill the user's cache."
    patch = pytest.MonkeyPatch()
    patch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


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
