"Guesses: the objects, those of the notebooks, and the forms on the site in a real browser."

import ast
import json
import re
from html import unescape
from pathlib import Path

import nbformat
import pytest
from test_site import AXE, FAULTS, TOO_WIDE, open_page

from mnist_walkthrough.guess import Guess

NOTEBOOKS = sorted(Path(__file__).resolve().parent.parent.glob("nbs/[0-9]*.ipynb"))


def output(shown):
    "What a cell that ends in a guess or a truth shows without widgets."
    data, _ = shown._repr_mimebundle_()
    return data["text/plain"], data["text/html"]


def attribute(html, name):
    return json.loads(unescape(re.search(f'data-{name}="([^"]*)"', html)[1]))


# the objects


@pytest.mark.parametrize(
    ("guess", "words"),
    [
        (Guess("a"), "Your guess: …"),
        (Guess("a", unit="%"), "Your guess: … %"),
        (Guess("a", "rises", "falls"), "Your guess: rises / falls"),
    ],
)
def test_what_stands_for_a_guess(guess, words):
    plain, html = output(guess)
    assert plain == words
    assert f"<p>{words}</p>" in html
    question = {"name": "a", "choices": list(guess.choices), "unit": guess.unit}
    assert attribute(html, "guess") == question


@pytest.mark.parametrize(
    ("guess", "truth", "shown"),
    [
        (Guess("b"), 3, "3"),
        (Guess("b"), 1234567, "1,234,567"),
        (Guess("b"), 1234567.8, "1.23457e+06"),
        (Guess("b", unit="%"), 12.30, "12.3 %"),
        (Guess("b", unit="digits"), 23860, "23,860 digits"),
        (Guess("b", "<1", "&"), "<1", "<1"),
    ],
)
def test_what_stands_for_the_answer_is_folded(guess, truth, shown):
    plain, html = output(guess.reveal(truth))
    assert plain == f"Answer: {shown}"
    assert attribute(html, "truth") == {"name": "b", "truth": shown}
    folded = re.search("<details><summary>The answer</summary><p>(.*)</p></details>", html)
    assert unescape(folded[1]) == shown


def test_one_choice_is_none():
    with pytest.raises(ValueError, match="guess 'a' has one choice, 'rises'; give none or several"):
        Guess("a", "rises")


@pytest.mark.parametrize(
    ("guess", "truth", "words"),
    [
        (Guess("a", "rises", "falls"), "stays", "'stays' is none of .'rises', 'falls'."),
        (Guess("a", "rises", "falls"), 0, "0 is none of"),
        (Guess("a"), "rises", "asks for a number, got 'rises'"),
    ],
)
def test_a_truth_that_nobody_could_guess_is_refused(guess, truth, words):
    with pytest.raises(ValueError, match=words):
        guess.reveal(truth)


def test_a_cell_that_runs_again_keeps_its_guess_and_another_question_does_not():
    Guess("kept", unit="%").asked.guess = "7 %"
    assert Guess("kept", unit="%").answered.guess == "7 %"
    assert Guess("kept", unit="points").asked.guess == ""


def test_without_widgets_the_same_stands_there(python):
    code = """if True:
        import sys
        if sys.argv: sys.modules["anywidget"] = None
        from mnist_walkthrough.guess import Guess
        guess = Guess("a", unit="%")
        for shown in guess, guess.reveal(3):
            data, metadata = shown._repr_mimebundle_()
            print({kind: data[kind] for kind in ("text/plain", "text/html")}, len(data))
        """
    plain, widgets = python(code), python(code.replace("if sys.argv", "if not sys.argv"))
    assert plain.stdout.replace(" 2\n", " 3\n") == widgets.stdout
    assert plain.stdout.count(" 2\n") == 2, plain.stderr


# those of the notebooks


def cells(path):
    return nbformat.read(path, as_version=4).cells


def name(call):
    "The name that a `Guess(...)` gives."
    return call.args[0].value


def calls(cell, attribute):
    "The calls of `Guess(...)` or `....reveal(...)` in a code cell."
    for node in ast.walk(ast.parse(cell.source)):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            if called == attribute:
                yield node


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stage_asks_for_three_to_five_guesses_and_answers_each_once(path):
    asked, variables, answered = [], {}, []
    for cell in cells(path):
        if cell.cell_type == "code":
            for call in calls(cell, "Guess"):
                asked.append(name(call))
                (variable,) = (
                    s.targets[0].id
                    for s in ast.parse(cell.source).body
                    if isinstance(s, ast.Assign)
                )
                variables[variable] = name(call)
                assert cell.id == f"guess-{name(call)}".replace("_", "-")
                assert cell.source.startswith("#| echo: false\n")
            for call in calls(cell, "reveal"):
                (truth,) = call.args
                assert not isinstance(truth, ast.Constant), f"{cell.id}: typed, not computed"
                answered.append(variables[call.func.value.id])
                assert cell.id == f"answer-{answered[-1]}".replace("_", "-")
                assert cell.source.startswith("#| echo: false\n")
    assert 3 <= len(asked) <= 5
    assert len(set(asked)) == len(asked)
    assert sorted(answered) == sorted(asked)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_guess_stands_below_its_question_and_is_saved_without_a_widget(path):
    before = None
    for cell in cells(path):
        if cell.id.startswith("guess-"):
            assert before.cell_type == "markdown", cell.id
            question = before.source.partition("**Guess first.**")[2]
            assert "?" in question, f"{cell.id}: no question after **Guess first.**"
        if cell.id.startswith(("guess-", "answer-")):
            (saved,) = cell.outputs
            assert set(saved["data"]) == {"text/html", "text/plain"}, cell.id
            assert "<script" not in saved["data"]["text/html"]
        before = cell


# the forms on the site


@pytest.fixture(scope="module")
def found(site_folder):
    "The pages that ask for guesses: {name: [{name, choices, unit, truth}]}."
    pages = {}
    for path in sorted(site_folder.glob("*.html")):
        html = path.read_text("utf-8")
        truths = {}
        for held in re.findall('class="mnist-truth" (data-truth="[^"]*")', html):
            truth = attribute(held, "truth")
            truths[truth["name"]] = truth["truth"]
        for held in re.findall('class="mnist-guess" (data-guess="[^"]*")', html):
            question = attribute(held, "guess")
            pages.setdefault(path.name, []).append(question | {"truth": truths[question["name"]]})
    return pages


def one(found, chosen):
    "The first page with a number to guess, or with choices, and the place of that question on it."
    for page, questions in found.items():
        for i, question in enumerate(questions):
            if bool(question["choices"]) == chosen:
                return page, i, question
    raise AssertionError("no page asks for such a guess")


@pytest.fixture
def page(browser):
    "A page; fails on any error of a script and any request to another host."
    page = browser.new_page(viewport={"width": 1000, "height": 900})
    page.set_default_timeout(10_000)
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
    page.on("requestfailed", lambda request: wrong.append(request.url))
    yield page
    page.close()
    assert not wrong


@pytest.fixture(params=["served", "file"])
def address(request, site, site_folder):
    return site if request.param == "served" else site_folder.as_uri() + "/"


def open_at(page, address, found, chosen):
    "Open a page at a question; gives where it stands, where its answer stands, and the question."
    name, i, question = one(found, chosen)
    open_page(page, address + name)
    held = page.locator("[data-truth]").evaluate_all("all => all.map(e => e.dataset.truth)")
    names = [json.loads(text)["name"] for text in held]
    asked = page.locator("[data-guess]").nth(i)
    asked.scroll_into_view_if_needed()
    return asked, page.locator("[data-truth]").nth(names.index(question["name"])), question


def test_a_number_stands_beside_the_answer_at_both_places(page, address, found):
    asked, answered, question = open_at(page, address, found, chosen=False)
    assert answered.locator("summary").inner_text() == "The answer"
    status = asked.get_by_role("status")
    asked.get_by_role("button", name="Guess").click()
    assert status.inner_text() == "", "there was no guess"
    asked.get_by_label("Your guess").fill("1234.5")
    page.keyboard.press("Enter")
    guess = f"1,234.5 {question['unit']}".strip()
    both = f"Your guess: {guess} Answer: {question['truth']}"
    assert " ".join(status.inner_text().split()) == both
    assert " ".join(answered.inner_text().split()) == both
    lines = answered.locator("strong").evaluate_all("all => all.map(e => e.offsetTop)")
    assert len(set(lines)) == 1, "side by side"
    asked.get_by_label("Your guess").fill("-2")
    asked.get_by_role("button", name="Guess").click()
    assert "-2" in status.inner_text()
    assert "-2" in answered.inner_text()


def test_a_choice_is_made_by_keyboard(page, address, found):
    asked, answered, question = open_at(page, address, found, chosen=True)
    assert asked.get_by_role("radio").count() == len(question["choices"])
    asked.get_by_role("radio").first.focus()
    for key in ("Space", "ArrowDown", "Tab", "Space"):
        page.keyboard.press(key)
    both = f"Your guess: {question['choices'][1]} Answer: {question['truth']}"
    assert " ".join(asked.get_by_role("status").inner_text().split()) == both
    assert " ".join(answered.inner_text().split()) == both


def test_the_answer_unfolds_before_any_guess_by_keyboard(page, site, found):
    _, answered, question = open_at(page, site, found, chosen=False)
    answered.locator("summary").focus()
    page.keyboard.press("Enter")
    assert answered.locator("details > :not(summary)").inner_text() == question["truth"]


def test_every_question_on_the_site_is_alive(page, site, found):
    assert len(found) == len(NOTEBOOKS)
    for name, questions in found.items():
        open_page(page, site + name)
        assert page.locator("form:has-text('Guess') button:text-is('Guess')").count() == len(
            questions
        )


def test_a_page_without_a_question_loads_no_script_for_it(site_folder, found):
    for path in site_folder.glob("*.html"):
        assert ("guess.js" in path.read_text("utf-8")) == (path.name in found), path.name


def test_without_scripts_the_question_stands_there_and_the_answer_unfolds(browser, site, found):
    page = browser.new_page(java_script_enabled=False)
    name, _, question = one(found, chosen=True)
    page.goto(site + name)
    words = f"Your guess: {' / '.join(question['choices'])}"
    assert page.get_by_text(words, exact=True).is_visible()
    answered = page.locator(f"[data-truth*='\"{question['name']}\"']")
    assert not answered.locator("p").is_visible()
    answered.locator("summary").click()
    assert answered.locator("p").inner_text() == question["truth"]
    page.close()


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1400, "light")])
def test_given_guesses_are_legible_and_fit(page, site, found, width, theme):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    name, questions = next(iter(found.items()))
    assert len({bool(question["choices"]) for question in questions}) == 2, "both kinds"
    open_page(page, site + name)
    for asked in page.locator("[data-guess]").all():
        if radios := asked.get_by_role("radio").all():
            radios[0].check()
        else:
            asked.get_by_label("Your guess").fill("3")
        asked.get_by_role("button", name="Guess").click()
    assert page.get_by_text("Your guess: ").count() == 2 * len(questions)
    assert page.evaluate(TOO_WIDE) == []
    page.evaluate(AXE)
    assert page.evaluate(FAULTS) == []
