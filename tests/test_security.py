"""What reads untrusted bytes runs nothing of them; what listens, listens on loopback.

The detective below reads source as Python does, so other names for a thing do not hide it. It is no
proof against somebody who hides a call on purpose; it finds what slips in."""

import ast
import re

import nbformat
import pytest

MODULES = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "jsonpickle", "joblib", "marshal"),
    *("shelve", "builtins", "code", "codeop", "runpy", "pty", "commands", "imp"),
    *("torch.hub", "torch.package", "multiprocessing.reduction"),
}
NAMES = {
    *("eval", "exec", "compile", "execfile", "__import__", "__builtins__", "globals"),
    *("os.system", "os.popen", "os.startfile", "posix.system", "nt.system"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "asyncio.subprocess.create_subprocess_shell"),
    *("torch.load", "torch.jit.load", "torch.serialization.load", "torch.export.load"),
    *("torch.hub", "torch.package", "numpy.lib.format", "pandas.read_pickle", "pandas.eval"),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load"),
}
STARTS = re.compile(r"os\.(exec|spawn|posix_spawn)\w*")
METHODS = {"system", "popen", "read_pickle", "create_subprocess_shell", "getoutput", "__globals__"}
KEYWORDS = {"shell", "allow_pickle"}
HIDDEN = METHODS | {n for n in MODULES | NAMES if "." not in n} - {"code", "compile", "commands"}
DYNAMIC = {"importlib.import_module", "importlib.util", "importlib.machinery"}


def meanings(tree):
    "What each name of a source stands for: `p` for `pickle.loads` after `from pickle import loads as p`."
    found = {"np": "numpy"}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                found |= {a.asname: a.name for a in names if a.asname}
            case ast.ImportFrom(module=module, names=names):
                found |= {a.asname or a.name: f"{module}.{a.name}" for a in names}
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name() | ast.Attribute()):
                found[name] = ast.unparse(node.value)
    return found


def full(text, meaning, depth=5):
    "A dotted name with its first part replaced by what it stands for."
    head, dot, rest = text.partition(".")
    if head not in meaning or not depth or meaning[head] == head:
        return text
    return full(meaning[head] + dot + rest, meaning, depth - 1)


def is_in(name, banned):
    "Whether a dotted name or what it is part of is among `banned`."
    parts = name.split(".")
    return any(".".join(parts[:i]) in banned for i in range(1, len(parts) + 1))


def as_text(node):
    "What a call or a look-up asks for by a text: `getattr(os, 'system')`, `vars(os)['system']`, `f(**{'shell': 1})`."
    match node:
        case ast.Call(args=args):
            texts = args
        case ast.Subscript(value=ast.Call() | ast.Attribute(attr="__dict__"), slice=text):
            texts = [text]
        case ast.Dict(keys=keys):
            return [
                f"{k.value}=" for k in keys if isinstance(k, ast.Constant) and k.value in KEYWORDS
            ]
        case _:
            texts = []
    return [f"'{t.value}'" for t in texts if isinstance(t, ast.Constant) and t.value in HIDDEN]


def dangers(source, banned=NAMES | DYNAMIC):
    "What in Python source unpickles, evaluates text or starts a shell."
    tree = ast.parse(source)
    meaning = meanings(tree)
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        yield from as_text(node)
        match node:
            case ast.Import(names=names):
                yield from (a.name for a in names if is_in(a.name, banned | MODULES))
            case ast.ImportFrom(module=module, names=names):
                full_names = [f"{module}.{alias.name}" for alias in names]
                yield from (name for name in full_names if is_in(name, banned | MODULES))
            case ast.Name(id=name) if name not in own and is_in(full(name, meaning), banned):
                yield name
            case ast.Attribute(attr=attr):
                name = full(ast.unparse(node), meaning)
                method = attr in METHODS and name != f"platform.{attr}"
                if method or is_in(name, banned) or STARTS.match(name):
                    yield name
            case ast.keyword(arg=name) if name in KEYWORDS:
                yield f"{name}="


@pytest.mark.parametrize(
    "source",
    [
        "import pickle as p",
        "from pickle import loads",
        "from pickle import loads as x",
        "import _pickle",
        "import marshal",
        "from shelve import open as keep",
        "import joblib",
        "from os import system",
        "from os import system as run",
        "if x:\n    import os\n    os.system(x)",
        "import os as o\no.system(x)",
        "import os\no = os\no.popen(x)",
        "os.execvp(x, y)",
        "self.os.system(x)",
        "run(x, shell=True)",
        "run(x, **{'shell': True})",
        "subprocess.getoutput(x)",
        "from subprocess import getoutput as get",
        "asyncio.create_subprocess_shell(x)",
        "map(eval, x)",
        "e = eval",
        "exec(x)",
        "compile(x, '', 'exec')",
        "import builtins",
        "getattr(builtins, 'eval')",
        "getattr(__builtins__, x)",
        "vars(os)['system'](x)",
        "__import__('os').system(x)",
        "import_module('pickle')",
        "from importlib import import_module as get\nget(x)",
        "globals()['ev' + 'al']",
        "x.__init__.__globals__",
        "x = torch.load(path)",
        "import torch as t\nt.load(path)",
        "from torch import load",
        "torch.hub.load(x)",
        "from torch import hub",
        "np.load(path, allow_pickle=True)",
        "import numpy\nnumpy.load(path, **{'allow_pickle': x})",
        "pd.read_pickle(x)",
        "yaml.load(x, Loader=y)",
        "from yaml import unsafe_load",
    ],
)  # fmt: skip
def test_what_is_dangerous_is_found(source):
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile(x)",
        "model.compile(x)",
        "learner.load(path)",
        "safetensors.torch.load(data)",
        "np.load(path)",
        "json.loads(x)",
        "yaml.safe_load(x)",
        "platform.system()",
        "subprocess.run([x, y], check=True)",
        "def compile(x): ...\ncompile(1)",
    ],
)
def test_what_is_not_dangerous_is_left_alone(source):
    assert not list(dangers(source))


def code_of(file):
    "The Python source of a module, or of all code cells of a notebook."
    if file.suffix == ".py":
        return file.read_text("utf-8")
    cells = [c.source for c in nbformat.read(file, as_version=4).cells if c.cell_type == "code"]
    return "\n".join(cells)


@pytest.mark.parametrize("folder", ["mnist_walkthrough", "nbs", "tools", "docs"])
def test_nothing_is_unpickled_or_evaluated_and_no_shell_is_started(root, folder):
    "Cells that begin with ! or % are no Python, and so are refused by the parser."
    files = [f for f in sorted((root / folder).rglob("*")) if f.suffix in (".py", ".ipynb")]
    files = [f for f in files if ".ipynb_checkpoints" not in f.parts]
    assert len(files) > 1
    banned = NAMES | (set() if folder in ("tools", "docs") else DYNAMIC)
    found = {str(file): list(dangers(code_of(file), banned)) for file in files}
    assert not {file: words for file, words in found.items() if words}


def addresses(source):
    "The address of each server that Python source makes, and each that it binds."
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and re.search(
            r"(Server|\.bind|create_server|start_server)$", ast.unparse(node.func)
        ):
            yield " ".join(map(ast.unparse, node.args[:1]))


@pytest.mark.parametrize(
    "source", ["HTTPServer(('', 0), H)", "s.bind(('0.0.0.0', 1))", "socket.create_server(('', 1))"]
)
def test_a_server_for_all_is_found(source):
    assert not next(addresses(source)).startswith("('127.0.0.1', ")


def test_servers_listen_on_loopback_only(root):
    folders = ("docs", "mnist_walkthrough", "tests", "tools")
    files = [file for folder in folders for file in (root / folder).rglob("*.py")]
    found = [address for file in files for address in addresses(file.read_text("utf-8"))]
    assert len(found) > 2
    assert all(address.startswith("('127.0.0.1', ") for address in found), found
    for line in (root / "Makefile").read_text().splitlines():
        assert "http.server" not in line or "--bind 127.0.0.1" in line
        assert "jupyter" not in line or "ip=" not in line


def test_addresses_that_programs_ask_are_secure(root):
    "Each address in the package, but for loopback."
    files = [*(root / "mnist_walkthrough").rglob("*.py")]
    found = {a for f in files for a in re.findall(r"http://[^\s\"'`)]+", f.read_text("utf-8"))}
    assert not found
