"The tests find or bring their own browser, or say how to get one; they never skip."

import sys

import browser as own
import pytest


@pytest.fixture
def bare(monkeypatch, tmp_path):
    "A system without a browser; commands that 'install' one are added to the list it gives."
    commands = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(own, "PLACES", ())
    monkeypatch.setattr(own, "installers", lambda: commands)
    return commands


def test_the_browser_reaches_this_host_only(browser):
    page = browser.new_page()
    page.goto("data:text/html,<title>here</title>")
    assert page.title() == "here"
    with pytest.raises(Exception, match="ERR_NAME_NOT_RESOLVED"):
        page.goto("http://example.com")
    page.close()


def test_without_a_browser_the_tests_fail_and_say_how(bare, tmp_path):
    bare.append([sys.executable, "-c", "import sys; sys.exit('no network')"])
    with pytest.raises(RuntimeError, match="playwright install") as error:
        own.find_chromium(tmp_path / "chrome")
    assert "no network" in str(error.value)


def test_a_browser_that_does_not_start_is_not_taken(bare, tmp_path):
    broken = tmp_path / "chromium"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(RuntimeError, match=f"{broken}: failed"):
        own.find_chromium(tmp_path / "chrome")


def test_a_missing_browser_is_installed(bare, chromium, tmp_path):
    place = str(tmp_path / "chrome")
    code = f"import os; os.symlink({chromium!r}, {place!r})"
    bare.append([sys.executable, "-c", code])
    assert own.find_chromium(place) == place


def test_a_server_that_dies_is_an_error_with_its_words():
    command = [sys.executable, "-c", "import sys; sys.exit('port is mine')"]
    with pytest.raises(RuntimeError, match="port is mine"), own.server(command, own.free_port()):
        pass
