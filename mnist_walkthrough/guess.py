"A guess before a cell is run; afterwards guess and truth side by side."

import json
from html import escape
from importlib.resources import files
from typing import Any

__all__ = ["Guess", "Truth"]

try:
    from anywidget import AnyWidget
    from traitlets import Dict, Unicode, link
except ModuleNotFoundError:  # what stands for the widgets is shown then
    WIDGETS = False
else:
    from mnist_walkthrough.play import STYLE, bundle

    WIDGETS = True

    class Place(AnyWidget):
        "Where a guess is given, or where the truth is shown beside it."

        _esm = bundle("guess_widget.js")
        _css = STYLE + (files("mnist_walkthrough") / "js" / "guess.css").read_text(encoding="utf-8")
        question = Dict().tag(sync=True)  # Empty where the truth is shown
        guess = Unicode().tag(sync=True)  # As it is shown; empty before it is given
        truth = Unicode().tag(sync=True)  # As it is shown; empty before it is revealed


PLACES: dict[str, tuple[Any, Any]] = {}  # Of each question: a cell that runs again keeps its guess


def places(question: dict[str, Any]) -> tuple[Any, Any]:
    "The widgets at a question and at its answer; None where there are no widgets."
    key = json.dumps(question)
    if key not in PLACES and WIDGETS:
        asked, answered = Place(question=question), Place()
        for name in ("guess", "truth"):
            link((asked, name), (answered, name))
        PLACES[key] = asked, answered
    return PLACES.get(key, (None, None))


def shown(
    place: Any,  # A widget or None
    words: str,  # What stands for it in a terminal
    html: str,  # And on a page
) -> tuple[dict[str, Any], dict[str, Any]]:
    "The data and metadata of a cell's output."
    data, metadata = place._repr_mimebundle_() if place else ({}, {})
    return {**data, "text/plain": words, "text/html": html}, metadata


class Guess:
    "A place for a guess, below the text that asks for it; `reveal` puts the truth beside it."

    def __init__(
        self,
        name: str,  # Names the question on its page
        *choices: str,  # What to choose from; without them a number is asked for
        unit: str = "",  # Of the number, as in "%"
    ):
        if len(choices) == 1:
            raise ValueError(f"guess {name!r} has one choice, {choices[0]!r}; give none or several")
        self.question = {"name": name, "choices": choices, "unit": unit}
        self.name, self.choices, self.unit = name, choices, unit
        self.asked, self.answered = places(self.question)

    def reveal(
        self,
        truth: str | float,  # One of the choices, or the number, rounded as it is to be shown
    ) -> "Truth":  # Shows itself
        "What came out; raises `ValueError` when it is no possible guess."
        if self.choices and truth not in self.choices:
            raise ValueError(f"guess {self.name!r}: {truth!r} is none of {self.choices}")
        if not self.choices and isinstance(truth, str):
            raise ValueError(f"guess {self.name!r} asks for a number, got {truth!r}")
        if isinstance(truth, str):
            words = truth
        else:
            number = f"{truth:,}" if isinstance(truth, int) else f"{truth:,.6g}"
            words = f"{number} {self.unit}".strip()
        if self.answered:
            self.answered.truth = words
        return Truth(self, words)

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        words = f"Your guess: {' / '.join(self.choices) or f'… {self.unit}'.strip()}"
        html = (
            f'<div class="mnist-guess" data-guess="{escape(json.dumps(self.question))}">'
            f"<p>{escape(words)}</p></div>"
        )
        return shown(self.asked, words, html)


class Truth:
    "What came out, beside the guess if there was one; else folded."

    def __init__(
        self,
        guess: Guess,  # What it answers
        words: str,  # As it is shown
    ):
        self.guess, self.words = guess, words

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        form = json.dumps({"name": self.guess.name, "truth": self.words})
        html = (
            f'<div class="mnist-truth" data-truth="{escape(form)}"><details>'
            f"<summary>The answer</summary><p>{escape(self.words)}</p></details></div>"
        )
        return shown(self.guess.answered, f"Answer: {self.words}", html)
