"A guess before a cell is run; afterwards guess and truth side by side."

import json
from html import escape
from typing import Any


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
        self.name, self.choices, self.unit = name, choices, unit
        self.value: str | float | None = None

    def shown(self, value: str | float) -> str:
        "A guess or the truth, with its unit."
        number = value if isinstance(value, str) else f"{value:,.6g}"
        return f"{number} {self.unit}".strip()

    def reveal(
        self,
        truth: str | float,  # One of the choices, or the number, rounded as it is to be shown
    ) -> "Truth":  # Shows itself
        "What came out; raises `ValueError` when it is no possible guess."
        if self.choices and truth not in self.choices:
            raise ValueError(f"guess {self.name!r}: {truth!r} is none of {self.choices}")
        if not self.choices and isinstance(truth, str):
            raise ValueError(f"guess {self.name!r} asks for a number, got {truth!r}")
        return Truth(self, truth)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        how = (
            " / ".join(self.choices)
            if self.choices
            else f"a number, in {self.unit}"
            if self.unit
            else "a number"
        )
        words = f"Your guess ({how})?"
        form = json.dumps({"name": self.name, "choices": self.choices, "unit": self.unit})
        html = f'<div class="mnist-guess" data-guess="{escape(form)}"><p>{escape(words)}</p></div>'
        return {"text/plain": words, "text/html": html}


class Truth:
    "What came out, beside the guess if there was one; else folded."

    def __init__(self, guess: Guess, truth: str | float):
        self.guess, self.truth = guess, truth

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        truth = self.guess.shown(self.truth)
        if self.guess.value is None:
            words, html = (
                f"Answer: {truth}",
                f"<details><summary>The answer</summary><p>{escape(truth)}</p></details>",
            )
        else:
            words = f"Your guess: {self.guess.shown(self.guess.value)}. Answer: {truth}"
            html = f"<p>{escape(words)}</p>"
        form = json.dumps({"name": self.guess.name, "truth": truth})
        return {
            "text/plain": words,
            "text/html": f'<div class="mnist-truth" data-truth="{escape(form)}">{html}</div>',
        }
