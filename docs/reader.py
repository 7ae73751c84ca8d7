"From a notebook that nbdev's documentation pass has processed to one that MyST-NB reads."

import ast
import inspect
import re
from importlib import import_module
from types import FunctionType

import yaml
from fastcore.docments import docments
from nbformat.v4 import new_markdown_cell
from torch import Tensor

INNER = re.compile(r"\[(`[^`]*`)\]\([^)\s]+\)")
NESTED = re.compile(rf"\[((?:[^][]*{INNER.pattern})+[^][]*)\](?=\()")
LINK = re.compile(r"\[((?:`[^`]*`|[^][`])*)\]\(([^)\s]+)\)")


def read(
    nb,  # A notebook from `_proc`, changed in place
    link,  # Maps the text and the target of a Markdown link to MyST
    module=None,  # The module whose symbols the notebook defines
    source=None,  # Maps a symbol's name to the address of its source
    below_title="",  # Markdown to put under the summary
):
    "Turn what nbdev's pass leaves, as far as our notebooks use it, into MyST."
    for i, cell in enumerate(nb.cells):
        if cell.cell_type == "raw":
            nb.cells[i] = head(cell.source, nb.metadata, below_title)
        elif cell.cell_type == "markdown":
            cell.source = links(cell.source, link)
            if cell.id.startswith("exercise-"):
                cell.source = f"({cell.id})=\n{cell.source}"
        elif shown := re.search(r"^show_doc\((\w+)\)", cell.source, re.M):
            nb.cells[i] = new_markdown_cell(entry(module, shown[1], source(shown[1])))
        else:
            options(cell)
    nb.metadata.pop("widgets", None)
    nb.metadata.language_info = {"name": "python", "pygments_lexer": "python"}
    return nb


def links(source, link):
    "All links; where nbdev has put one into the text of another, the outer one stays."
    source = NESTED.sub(lambda outer: "[" + INNER.sub(r"\1", outer[1]) + "]", source)
    return LINK.sub(lambda match: link(match[1], match[2]), source)


def head(source, metadata, below_title):
    "Title and summary, which nbdev has moved to front matter."
    front = yaml.safe_load(source.strip().strip("-"))
    summary = front.get("description", "")
    metadata["myst"] = {"html_meta": {"description": summary.replace("`", "")}}
    return new_markdown_cell(f"# {front['title']}\n\n{{.summary}}\n{summary}\n\n{below_title}")


def options(cell):
    "Options of a cell (`#| echo: false`, `#| fig-alt: ...`) as tags and metadata of MyST-NB."
    lines = cell.source.splitlines()
    cell.source = "\n".join(line for line in lines if not line.startswith("#|")).strip("\n")
    given = (line[2:].partition(":") for line in lines if line.startswith("#|"))
    values = {name.strip(): value.strip() for name, _, value in given}
    if values.get("echo") == "false":
        cell.metadata["tags"] = ["remove-input"]
    if "fig-alt" in values:
        cell.metadata["mystnb"] = {"image": {"alt": values["fig-alt"]}}
    if only_imports(cell.source):
        cell.metadata["tags"] = ["hide-input"]
        cell.metadata["mystnb"] = {"code_prompt_show": "Imports", "code_prompt_hide": "Imports"}


def only_imports(source):
    "Whether a cell does nothing but import, which a reader may skip."
    statements = ast.parse(source).body
    return bool(statements) and all(isinstance(s, ast.Import | ast.ImportFrom) for s in statements)


class Links:
    "Where the links of the notebooks lead on the site."

    def __init__(
        self,
        site,  # Address of the site, with a slash at the end
        files,  # Address of the repository's files, with a slash at the end
        pages,  # Name of each notebook -> name of its page
        symbols,  # Address of each entry on the site, as nbdev writes it -> the symbol's full name
    ):
        self.site, self.files, self.pages, self.symbols = site, files, pages, symbols
        self.page = ""  # That is read; a name that tensors have too, as `exp`, is ours there alone

    def __call__(self, text, target):
        if target.startswith(self.site):
            target = target.removeprefix(self.site)
            if target in self.symbols:
                if hasattr(Tensor, text.strip("`")) and not target.startswith(self.page):
                    return text
                return f"{{py:obj}}`{text.strip('`')} <{self.symbols[target]}>`"
            return f'<a href="{target}">{text}</a>'
        if target.startswith("../docs/"):
            return f"[{text}]({target.removeprefix('../docs/')})"
        if target.startswith("../"):
            return f"[{text}]({self.files}{target.removeprefix('../')})"
        name, hash_, anchor = target.partition("#")
        page = self.pages.get(name, name)
        if "=" in anchor:  # no place on the page, but settings that the page reads
            return f'<a href="{page.replace(".ipynb", ".html")}#{anchor}">{text}</a>'
        return f"[{text}]({page}{hash_}{anchor})"


def entry(module, name, source):
    "The entry of a function or class: signature, docments, for a class its public methods."
    symbol = getattr(import_module(module), name)
    link = f"[source]({source}){{.source}}"
    if not isinstance(symbol, type):
        return directive("function", module, name, symbol, link)
    methods = [
        directive("method", module, f"{name}.{method}", function)
        for method, function in vars(symbol).items()
        if isinstance(function, FunctionType) and not method.startswith("_")
    ]
    return directive("class", module, name, symbol, link, methods)


def directive(kind, module, name, symbol, link="", methods=()):
    "A directive of Sphinx's Python domain."
    fence = "````" if methods else "```"
    parameters = [p for p in inspect.signature(symbol).parameters.values() if p.name != "self"]
    signature = ", ".join(map(in_signature, parameters))
    head = f"{fence}{{py:{kind}}} {name}({signature})\n:module: {module}"
    text = f"{link} {symbol.__doc__ or ''}".strip()
    return "\n\n".join([head, text, docments_table(symbol, parameters), *methods, fence])


def in_signature(p):
    "A parameter as it stands in a signature, without its type."
    star = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
    default = getattr(p.default, "__name__", repr(p.default))
    return f"{star}{p.name}" + ("" if p.default is p.empty else f"={default}")


def docments_table(symbol, parameters):
    "Name, type and meaning of each parameter and of what comes back; nothing if there is no comment."
    comments = docments(symbol)
    if not any(comments.values()):
        return ""
    rows = [(f"`{p.name}`", p.annotation, comments.get(p.name)) for p in parameters]
    rows.append(("gives", inspect.signature(symbol).return_annotation, comments.get("return")))
    cells = [
        f"| {name} | {type_name(kind)} | {(text or '').replace('|', '&#124;')} |"
        for name, kind, text in rows
        if kind not in (None, inspect.Parameter.empty)
    ]
    header = "| name | type | meaning |\n|---|---|---|"
    table = "\n".join([header, *cells])
    return f"<details><summary>Parameters</summary>\n\n{table}\n\n</details>"


def type_name(annotation):
    "A type as the notebooks write it: `Tensor`, not `torch.Tensor`."
    name = re.sub(r"(\w+\.)+", "", inspect.formatannotation(annotation))
    return f"`{name}`".replace("|", r"\|")
