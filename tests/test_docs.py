"What `make docs` builds, read as files; test_site.py looks at it in a browser."

import re
import shlex
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import nbformat
import pytest
from nbdev.config import get_config

from mnist_walkthrough import check, guess
from mnist_walkthrough._modidx import d as index

TAGS = {"script", "img", "iframe", "source", "video", "audio", "object", "embed"}


class Page(HTMLParser):
    "What a page loads, says of itself, links to, and its anchors."

    def __init__(self, path):
        super().__init__()
        self.path, self.loads, self.links, self.ids, self.meta = path, [], [], set(), {}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id"))
        if tag == "meta":
            key = given.get("name") or given.get("property") or given.get("http-equiv")
            self.meta[key] = given.get("content")
        if tag == "a":
            self.links.append(given.get("href") or "")
        if tag in TAGS:
            self.loads.append(given.get("src") or given.get("data") or "")
            self.loads += re.findall(r"[^\s,]+", given.get("srcset") or "")
        self.loads += re.findall(r"url\([\"']?([^\"')]+)", given.get("style") or "")
        if tag == "link" and not {"canonical", "index", "search"} & set(given["rel"].split()):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def pages(site_folder):
    return {path.stem: Page(path) for path in site_folder.glob("*.html")}


def stages(root):
    return sorted(root.glob("nbs/[0-9]*.ipynb"))


def page_name(notebook):
    return re.sub(r"^\d+_", "", notebook.stem)


def test_the_build_takes_less_than_a_minute(site_folder):
    start = (site_folder.parent / "Makefile").stat().st_mtime  # copied just before
    end = max(path.stat().st_mtime for path in site_folder.rglob("*.html"))
    assert 1 < end - start < 60


@pytest.mark.parametrize(
    "fault",
    ["[gone](nowhere.ipynb)", "{py:obj}`gone`", "[gone](#nowhere)", "![gone](nowhere.png)"],
)
def test_a_dead_link_fails_the_build(site_folder, tmp_path, fault):
    shown = subprocess.run(
        ["make", "--dry-run", "--old-file=.venv/dev", f"BIN={Path(sys.executable).parent}", "docs"],
        cwd=site_folder.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    (command,) = (line for line in shown.stdout.splitlines() if "sphinx-build" in line)
    page = tmp_path / "pages"
    page.mkdir()
    (page / "index.md").write_text(f"# Title\n\n{fault}\n")
    parts = shlex.split(command)[:-2] + [str(page), str(tmp_path / "out")]
    done = subprocess.run(parts, cwd=site_folder.parent, capture_output=True, text=True)
    assert done.returncode != 0
    assert re.search("nowhere|gone", done.stderr)


def test_nothing_is_loaded_from_elsewhere(pages, site_folder):
    for page in pages.values():
        assert page.loads
        elsewhere = [x for x in page.loads if re.match(r"(\w+:)?//", x)]
        assert not elsewhere, f"{page.path.name} loads {elsewhere}"
    for sheet in site_folder.rglob("*.css"):
        urls = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')]+)", sheet.read_text("utf-8"))
        elsewhere = [url for url in urls if re.match(r"(\w+:)?//", url)]
        assert not elsewhere, f"{sheet.name} loads {elsewhere}"


def test_browsers_are_told_to_load_nothing_from_elsewhere(pages):
    for name, page in pages.items():
        kind, *allowed = page.meta["Content-Security-Policy"].split()
        assert kind == "default-src", name
        assert {*allowed} == {"'self'", "file:", "data:", "blob:", "'unsafe-inline'"}, name


def test_nothing_is_vendored(root):
    ours = subprocess.run(
        ["git", "ls-files", "docs"], cwd=root, capture_output=True, text=True, check=True
    ).stdout.split()
    assert {Path(name).suffix for name in ours} <= {".py", ".md", ".css"}
    code = [root / name for name in ours if not name.endswith(".md")]
    assert max(path.stat().st_size for path in code) < 20_000


def test_every_page_describes_itself(pages):
    home = f"{get_config().doc_host}{get_config().doc_baseurl}/"
    for name, page in pages.items():
        if name == "search":
            continue
        assert len(page.meta["description"]) > 20, name
        assert page.meta["og:title"], name
        assert page.meta["og:description"], name
        card = page.meta["og:image"]
        assert card.startswith(home), name
        file = page.path.parent / card.removeprefix(home)
        assert file.read_bytes().startswith(b"\x89PNG"), name


def test_stages_lead_from_one_to_the_next(pages, root):
    names = ["index", *map(page_name, stages(root))]
    for before, after in zip(names, names[1:], strict=False):
        html = {name: pages[name].path.read_text("utf-8") for name in (before, after)}
        assert re.search(rf'class="right-next"\s+href="{after}.html"', html[before])
        assert re.search(rf'class="left-prev"\s+href="{before}.html"', html[after])


def test_every_symbol_has_its_entry_on_its_page_and_a_line_in_the_index(pages):
    count = 0
    for module, symbols in index["syms"].items():
        public = set(getattr(import_module(module), "__all__", ()))
        for symbol in symbols:
            name = symbol.removeprefix(f"{module}.")
            if name in public:
                page = module.rpartition(".")[2]
                assert symbol in pages[page].ids, f"{symbol} has no entry on {page}.html"
                assert f"{page}.html#{symbol}" in pages["api"].links
                count += 1
    assert count > 50


def test_the_index_has_entries_for_what_no_notebook_exports(pages):
    entries = {f"mnist_walkthrough.guess.{name}" for name in guess.__all__}
    entries |= {f"mnist_walkthrough.check.{name}" for name in ("Progress", "Verdict", "progress")}
    assert entries <= pages["api"].ids
    html = pages["api"].path.read_text("utf-8")
    assert guess.Guess.__doc__.split("`")[0] in html
    assert re.search(r"blob/main/mnist_walkthrough/guess\.py#L\d+", html)
    assert re.search(r"blob/main/mnist_walkthrough/check/__init__\.py#L\d+", html)


def test_every_exercise_is_listed_with_its_task_and_leads_to_its_place(pages, root):
    page = pages["exercises"]
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", "", unescape(page.path.read_text("utf-8"))))
    text = text.replace("’", "'")
    listed = [link for link in page.links if "#exercise-" in link]
    expected = []
    for notebook in stages(root):
        for cell in nbformat.read(notebook, 4).cells:
            if cell.id.startswith("exercise-"):
                expected.append(f"{page_name(notebook)}.html#{cell.id}")
                assert cell.id in pages[page_name(notebook)].ids
                name = cell.id.removeprefix("exercise-").replace("-", "_")
                assert getattr(check, name).__doc__.replace("`", "") in text, name
    assert listed == expected
    assert len(listed) == len(check.EXERCISES)


def test_solutions_are_folded(site_folder, root):
    for notebook in stages(root):
        html = (site_folder / f"{page_name(notebook)}.html").read_text("utf-8")
        cells = nbformat.read(notebook, 4).cells
        folded = re.findall(
            r"<details><summary>A solution, and why</summary>(.*?)</details>", html, re.S
        )
        assert len(folded) == sum(cell.id.startswith("solution-") for cell in cells)
        assert all('<div class="highlight-python notranslate">' in solution for solution in folded)


def test_an_entry_shows_signature_docments_and_source(site_folder):
    html = (site_folder / "loss.html").read_text("utf-8")
    entry = html[html.index('id="mnist_walkthrough.loss.cross_entropy"') :]
    entry = entry[: entry.index("</dl>")]
    text = re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", entry))
    assert re.search(r"cross_entropy ?\( ?logits ?, ?target ?\)", text)
    assert "Unnormalised scores, float [n, n_classes]" in text
    assert re.search(r"blob/main/mnist_walkthrough/loss\.py#L\d+", entry)


def test_own_source_is_shown(site_folder):
    html = (site_folder / "loss.html").read_text("utf-8")
    text = re.sub("<[^>]+>", "", html)
    assert "def cross_entropy(" in text
    assert "#|" not in text


def test_what_follows_the_summary_is_kept(site_folder, root):
    for notebook in stages(root):
        text = (site_folder / f"{page_name(notebook)}.html").read_text("utf-8")
        assert "Beforehand:" in text, notebook.name
        assert "Reading time:" in text, notebook.name


def test_every_notebook_can_be_opened_elsewhere(pages, root, site_folder):
    for notebook in root.glob("nbs/*.ipynb"):
        links = " ".join(pages[page_name(notebook)].links)
        assert f"/blob/gh-pages/notebooks/{notebook.name}" in links
        assert f"?urlpath=lab/tree/nbs/{notebook.name}" in links
        assert f"/blob/main/nbs/{notebook.name}" in links
        assert "run.html#jupyterlab" in links
        copy = nbformat.read(site_folder / "notebooks" / notebook.name, 4)
        assert "pip install" in copy.cells[0].source
        assert copy.cells[1:] == nbformat.read(notebook, 4).cells


def test_llms_txt_lists_the_stages_as_markdown(site_folder, root):
    text = (site_folder / "llms.txt").read_text("utf-8")
    assert text.startswith("# mnist_walkthrough\n\n> ")
    home = f"{get_config().doc_host}{get_config().doc_baseurl}/"
    links = re.findall(rf"\]\({re.escape(home)}(\S+)\): \w", text)
    assert links == [f"{page_name(notebook)}.md" for notebook in stages(root)]
    for link in links:
        assert (site_folder / link).read_text("utf-8").startswith("# ")


def test_the_404_page_works_at_any_depth(pages):
    page = pages["404"]
    base = f"{get_config().doc_baseurl}/"
    inner = [x for x in page.loads + page.links if x and not re.match(r"https?:|#|data:", x)]
    assert len(inner) > 10
    assert not [x for x in inner if not x.startswith(base)]


def test_the_address_of_the_repository_stands_in_settings_alone(root):
    for path in [*root.glob("docs/*"), *root.glob(".binder/*"), *root.glob(".github/*/*")]:
        if path.is_file():
            assert get_config().git_url not in path.read_text("utf-8"), path
