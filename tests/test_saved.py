"A training that is saved, stopped, killed or interrupted goes on as if nothing had been; a wrong file changes nothing."

import json
import os
import random
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import safetensors.torch
import torch
from torch import nn
from torch.utils.data import DataLoader as TorchLoader
from torch.utils.data import TensorDataset

from mnist_walkthrough import SGD, Callback, DataLoader, EarlyStop, Learner, cross_entropy, mlp
from mnist_walkthrough import learner as module
from mnist_walkthrough.accuracy import Adam, Schedule, one_cycle
from mnist_walkthrough.gradients import HandLearner
from mnist_walkthrough.learner import (
    load_optimizer_state,
    optimizer_state,
    pack,
    read_state,
    restore,
    training_state,
    unpack,
    write_state,
    write_whole,
)
from mnist_walkthrough.loader import RandomOrder
from mnist_walkthrough.metric import accuracy
from mnist_walkthrough.optimizer import Optimizer
from mnist_walkthrough.speed import FastLearner


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def same(a, b):
    "Bit for bit, but for the seconds that an epoch took."
    if isinstance(a, torch.Tensor):
        a, b = a.contiguous(), b.contiguous()
        shaped = (a.dtype, a.shape) == (b.dtype, b.shape)
        return shaped and torch.equal(
            a.reshape(-1).view(torch.uint8), b.reshape(-1).view(torch.uint8)
        )
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(k == "seconds" or same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


OPTIMIZERS = {
    "SGD": lambda p: SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: Adam(p, 1e-3),
    "torch's SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
    "torch's AdamW": lambda p: torch.optim.AdamW(p, 1e-3, amsgrad=True),
}
x, y = torch.rand(60, 6, generator=seeded(9)), torch.arange(60) % 3


class Noisy:
    "A dataset that draws."

    def __init__(self, generator):
        self.generator = generator

    def __len__(self):
        return len(y)

    def __getitem__(self, i):
        return x[i] + 0.1 * torch.randn(6, generator=self.generator), y[i]


LOADERS = {
    "ours": lambda g: DataLoader((x, y), 16, shuffle=True, generator=g),
    "torch's": lambda g: TorchLoader(TensorDataset(x, y), 16, shuffle=True, generator=g),
    "torch's, our sampler": lambda g: TorchLoader(
        TensorDataset(x, y), 16, sampler=RandomOrder(60, g)
    ),
    "torch's, a noisy dataset": lambda g: TorchLoader(Noisy(g), 16),
    "ours, global generator": lambda g: DataLoader((x, y), 16, shuffle=True),
}


def make(optimizer="SGD", loader="ours", callbacks=(), seed=1):
    "A learner with all that has a state: dropout, running means, a schedule, a shuffling loader."
    torch.manual_seed(seed)
    g = seeded(seed)
    net = nn.Sequential(mlp(6, 8, 8, generator=g), nn.BatchNorm1d(8), nn.Dropout(0.3))
    net.append(mlp(8, 3, generator=g))
    callbacks = [Schedule(one_cycle, 0.05), *callbacks]
    return Learner(
        LOADERS[loader](g),
        DataLoader((x[:20], y[:20]), 8),
        net,
        OPTIMIZERS[optimizer](net.parameters()),
        cross_entropy,
        [accuracy],
        callbacks,
    )


class Save(Callback):
    def __init__(self, folder):
        self.folder = folder

    def after_epoch(self, learner):
        learner.save(self.folder / str(len(learner.history)))


def ended(learner):
    "How a training ends, without torch's generator, which the rest of a test moves."
    return {k: v for k, v in training_state(learner).items() if k != "random"}


# Going on


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("loader", LOADERS)
def test_resumed_from_any_epoch_is_bit_for_bit_undisturbed(optimizer, loader, tmp_path):
    whole = make(optimizer, loader, [Save(tmp_path)])
    whole.fit(6, progress=False)
    for epoch in range(1, 7):
        rest = make(optimizer, loader, seed=epoch + 1)
        rest.load(tmp_path / str(epoch))
        assert (len(rest.history), rest.n_epochs) == (epoch, 6 - epoch)
        rest.fit(rest.n_epochs, progress=False)
        assert same(ended(rest), ended(whole)), epoch


def test_a_file_from_the_middle_of_an_epoch_goes_on_from_its_beginning(tmp_path):
    class Middle(Callback):
        "Saves before each step."

        def before_step(self, learner):
            learner.save(tmp_path / str(learner.callbacks[0].step))

    whole = make(callbacks=[Middle()])
    whole.fit(3, progress=False)
    for step in range(1, 13):
        rest = make(seed=step + 1)
        rest.load(tmp_path / str(step))
        assert len(rest.history) == (step - 1) // 4
        rest.fit(rest.n_epochs, progress=False)
        assert same(ended(rest), ended(whole)), step


def test_early_stop_and_the_schedule_go_on(tmp_path):
    whole = make(callbacks=[EarlyStop(2), Save(tmp_path)])
    whole.fit(60, progress=False)
    assert 4 < len(whole.history) < 60
    rest = make(callbacks=[EarlyStop(2)], seed=2)
    rest.load(tmp_path / "3")
    rest.fit(rest.n_epochs, progress=False)
    assert same(ended(rest), ended(whole))


def test_saving_changes_nothing(tmp_path):
    learner = make()
    learner.fit(2, progress=False)
    before = training_state(learner)
    learner.save(tmp_path / "file")
    assert same(training_state(learner), before)
    learner.load(tmp_path / "file")
    assert same(training_state(learner), before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_state_is_a_copy(optimizer):
    learner = make(optimizer)
    learner.fit(1, progress=False)
    before = training_state(learner)
    kept = unpack(pack(before, tensors := {}), tensors)
    learner.fit(1, progress=False)
    assert same(before, kept)
    restore(learner, before)
    learner.history[0]["note"] = 1.0
    assert same(before, kept), "what is put back is a copy"


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_an_optimizer_remembers_is_put_back(optimizer):
    a, b = (make(optimizer, seed=seed) for seed in (0, 1))
    a.fit(2, progress=False)
    kept = optimizer_state(a.optimizer)
    load_optimizer_state(b.optimizer, kept)
    assert same(optimizer_state(b.optimizer), kept)
    b.fit(1, progress=False)
    assert same(optimizer_state(a.optimizer), kept), "what is put back is a copy"


@pytest.mark.parametrize("key", ["name", "number", "parameter"])
def test_an_optimizer_of_a_reader_may_keep_its_memory_by_any_key(key, tmp_path):
    class Mine(Optimizer):
        def __init__(self, params):
            super().__init__(params)
            self.velocity = {}

        @torch.no_grad()
        def step(self):
            for i, p in enumerate(self.params):
                k = {"name": f"p{i}", "number": i, "parameter": p}[key]
                self.velocity[k] = 0.9 * self.velocity.get(k, 0) + p.grad
                p -= 0.05 * self.velocity[k]

    def new(seed, callbacks=()):
        learner = make(seed=seed)
        learner.optimizer, learner.callbacks = Mine(learner.model.parameters()), list(callbacks)
        return learner

    whole = new(1, [Save(tmp_path)])
    whole.fit(4, progress=False)
    rest = new(2)
    rest.load(tmp_path / "2")
    rest.loss_fn = At(cross_entropy, 7)
    with pytest.raises(KeyboardInterrupt):
        rest.fit(2, progress=False)
    rest.fit(4 - len(rest.history), progress=False)
    assert same(ended(rest), ended(whole))


def test_what_an_optimizer_remembers_moves_to_the_device_of_its_parameters():
    def devices(value):
        if isinstance(value, tuple):
            return {device for v in value for device in devices(v)}
        return {value.device.type} if isinstance(value, torch.Tensor) else set()

    for make_optimizer, name in ((OPTIMIZERS["SGD"], "velocity"), (OPTIMIZERS["Adam"], "means")):
        p = nn.Parameter(torch.ones(2))
        p.grad = torch.ones(2)
        (optimizer := make_optimizer([p])).step()
        there = make_optimizer([nn.Parameter(torch.ones(2, device="meta"))])
        load_optimizer_state(there, optimizer_state(optimizer))
        found = [devices(value) for value in getattr(there, name).values()]
        assert found == [{"meta"}]


@pytest.mark.parametrize("kind", ["cuda", "mps", "xpu"])
def test_a_devices_global_generator_is_kept_with_the_cpus(kind):
    model = SimpleNamespace(
        parameters=lambda: [SimpleNamespace(device=torch.device(d)) for d in ("cpu", kind, "meta")]
    )
    assert module.random_modules(model) == {"cpu": torch, kind: getattr(torch, kind)}


def test_it_runs_again_from_the_same_state():
    learner = make()
    learner.fit(2, progress=False)
    before = training_state(learner)
    module.restore(learner, before)
    learner.fit(2, progress=False)
    first = ended(learner)
    module.restore(learner, before)
    learner.fit(2, progress=False)
    assert same(ended(learner), first)


# Interrupts


class At:
    "Something that is interrupted at its n-th call."

    def __init__(self, what, n, error=KeyboardInterrupt):
        self.what, self.left, self.error = what, n, error

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            raise self.error("stop")
        return self.what(*args, **kwargs)


def interrupted_in(place, learner, n):
    "The n-th call of a part raises; in the optimizer after the first parameter was moved."
    if place == "loss":
        learner.loss_fn = At(learner.loss_fn, n)
    elif place == "forward":
        learner.model[1].forward = At(learner.model[1].forward, n)
    elif place == "step":
        learner.optimizer.direction = At(learner.optimizer.direction, 8 * n - 6)
    elif place == "validation":
        learner.measured["accuracy"] = At(accuracy, n)
    elif place == "callback":
        learner.callbacks[0].before_step = At(learner.callbacks[0].before_step, n)


def put_right(place, learner):
    if place == "forward":
        del learner.model[1].forward
    elif place == "step":
        del learner.optimizer.direction
    elif place == "callback":
        del learner.callbacks[0].before_step


@pytest.mark.parametrize("place", ["loss", "forward", "step", "validation", "callback"])
@pytest.mark.parametrize("n", [1, 2, 7, 11])
def test_an_interrupt_leaves_the_last_whole_epoch_and_goes_on(place, n):
    whole = make()
    whole.fit(6, progress=False)
    learner = make()
    interrupted_in(place, learner, n)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(6, progress=False)
    put_right(place, learner)
    done = len(learner.history)
    until = make()
    until.n_epochs = 6
    with module.fitting(until, []):
        for _ in range(done):
            until.train_epoch()
    assert same(learner.model.state_dict(), until.model.state_dict())
    if done:
        assert learner.validate() == {k: learner.history[-1][k] for k in ("valid_loss", "accuracy")}
    learner.fit(6 - done, progress=False)
    assert same(ended(learner), ended(whole))


@pytest.mark.parametrize("kind", [HandLearner, FastLearner])
def test_learners_without_autograd_are_left_and_gone_on_with(kind, tmp_path):
    def new(seed, callbacks=()):
        net = mlp(6, 8, 3, generator=seeded(seed))
        dl = DataLoader((x, y), 16, shuffle=True, generator=seeded(seed))
        return kind(dl, dl, net, SGD(net.parameters(), 0.1, 0.9), cross_entropy, [], callbacks)

    whole = new(1, [Save(tmp_path)])
    whole.fit(5, progress=False)
    rest = new(2)
    rest.load(tmp_path / "2")
    rest.optimizer.direction = At(rest.optimizer.direction, 25)
    with pytest.raises(KeyboardInterrupt):
        rest.fit(3, progress=False)
    del rest.optimizer.direction
    rest.fit(5 - len(rest.history), progress=False)
    assert same(ended(rest), ended(whole))


@pytest.mark.parametrize("error", [MemoryError, OSError, FloatingPointError])
def test_an_error_in_a_loader_leaves_the_last_whole_epoch(error):
    learner, batches = make(), []

    class Loader(DataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                batches.append(batch)
                if len(batches) == 7:
                    raise error("no more memory")
                yield batch

    learner.train_dl = Loader((x, y), 16, shuffle=True, generator=learner.train_dl.generator)
    with pytest.raises(error):
        learner.fit(6, progress=False)
    assert len(learner.history) == 1
    learner.fit(5, progress=False)
    whole = make()
    whole.fit(6, progress=False)
    assert same(ended(learner), ended(whole))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="not run: no timer here")
def test_a_hundred_interrupts_at_any_moment():
    "By a signal, as Ctrl-C is, wherever the program happens to be."
    n_epochs, start, whole = 800, time.perf_counter(), make()
    whole.fit(n_epochs, progress=False)
    epoch = (time.perf_counter() - start) / n_epochs
    learner, draw, hit = make(), random.Random(0), 0

    def stop(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        while hit < 100 and len(learner.history) < n_epochs:
            try:
                signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-4, 6 * epoch))
                learner.fit(n_epochs - len(learner.history), progress=False)
            except KeyboardInterrupt:
                hit += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert [row["epoch"] for row in learner.history] == [
                *range(1, len(learner.history) + 1)
            ]
            if learner.history:
                last = {k: learner.history[-1][k] for k in ("valid_loss", "accuracy")}
                assert learner.validate() == last
    finally:
        signal.signal(signal.SIGALRM, before)
    assert hit == 100
    learner.fit(n_epochs - len(learner.history), progress=False)
    assert same(ended(learner), ended(whole))


class Stepper:
    "An optimizer of somebody else's: `step` and `zero_grad`, and nothing said of its memory."

    def __init__(self, net):
        self.net = net

    def step(self):
        with torch.no_grad():
            for p in self.net.parameters():
                p -= 0.1 * p.grad

    def zero_grad(self):
        self.net.zero_grad()


def test_an_optimizer_that_is_not_known_trains_and_is_not_saved(tmp_path):
    learner = make()
    learner.callbacks, learner.optimizer = [], Stepper(learner.model)
    learner.fit(2, progress=False)
    with pytest.raises(TypeError, match="what test_saved.Stepper remembers is not known"):
        learner.save(tmp_path / "file")
    assert not list(tmp_path.iterdir())


# Kills


@pytest.mark.skipif(not hasattr(os, "fork"), reason="not run: no fork here")
def test_a_hundred_kills(root, run):
    done = run(sys.executable, root / "tools" / "soak.py", "--kills", "100", timeout=300)
    assert done.returncode == 0, done.stderr
    found = re.match(
        r"100 kills survived, (\d+) of them while saving; 620 epochs later", done.stdout
    )
    assert found, done.stdout
    assert 10 < int(found[1]) < 95


# Files


STATES = [
    {"a": torch.arange(6).reshape(2, 3).T, 3: [1, 2.5, None, True, "text"], "b": {"c": {}}},
    [torch.rand(2), [torch.zeros(0), torch.tensor(1)]],
    {"lr": 0.1, "betas": (0.9, (0.999, torch.ones(1))), "nan": float("nan"), "a/b": torch.ones(2)},
    {"half": torch.rand(3).half(), "b": torch.tensor([True]), "c": torch.tensor([1j])},
    {
        "bf": torch.rand(3).bfloat16(),
        "scalar": torch.tensor(2.5),
        "int8": torch.tensor([-1]).char(),
    },
    {(1, "two"): 3, None: [], 2**60: -0.0, "é ☃": "ünï"},
    torch.ones(2),
    "only text",
]


@pytest.mark.parametrize("state", STATES)
def test_a_state_is_taken_apart_put_together_and_written(state, tmp_path):
    tensors = {}
    assert same(unpack(pack(state, tensors), tensors), state)
    write_state(state, tmp_path / "stäte 1")
    assert same(read_state(tmp_path / "stäte 1"), state)
    assert os.listdir(tmp_path) == ["stäte 1"]


def test_of_a_parameter_the_numbers_are_kept(tmp_path):
    write_state(torch.ones(2, requires_grad=True), tmp_path / "state")
    assert same(read_state(tmp_path / "state"), torch.ones(2))


def test_tensors_that_share_memory_are_kept_apart(tmp_path):
    w = torch.rand(4)
    write_state({"a": w, "b": w[:2], "c": w.expand(3, 4)}, tmp_path / "state")
    found = read_state(tmp_path / "state")
    assert same(found, {"a": w, "b": w[:2], "c": w.expand(3, 4)})
    found["a"][0] = 9
    assert same(found["b"], w[:2])


@pytest.mark.parametrize(
    ("state", "error", "says"),
    [
        ({"net": {"f": len}}, TypeError, "net/f: a builtin_function_or_method is no tensor"),
        ({"a": {1, 2}}, TypeError, "a: a set is no tensor, number or text"),
        ({1: torch.ones(1), "1": torch.ones(1)}, ValueError, "two tensors are called 1"),
    ],
)
def test_what_cannot_be_kept_is_named_and_the_old_file_stays(state, error, says, tmp_path):
    write_state({"epoch": 1}, tmp_path / "state")
    with pytest.raises(error, match=says):
        write_state(state, tmp_path / "state")
    assert read_state(tmp_path / "state") == {"epoch": 1}
    assert os.listdir(tmp_path) == ["state"]


def test_the_disk_has_the_file_before_it_gets_its_name(tmp_path, monkeypatch):
    "The order that a power cut needs: content, name, folder."
    done, fsync, replace = [], os.fsync, os.replace

    def synced(descriptor):
        is_folder = os.path.isdir(f"/proc/self/fd/{descriptor}")
        done.append("folder" if is_folder else os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", lambda *a: (done.append("name"), replace(*a)))
    write_whole(tmp_path / "file", b"12345")
    if os.path.isdir("/proc/self/fd"):
        assert done == [5, "name", "folder"]
    assert (tmp_path / "file").read_bytes() == b"12345"


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_the_old_file(step, error, tmp_path, monkeypatch):
    file, learner = tmp_path / "file", make()
    learner.save(file)
    old = file.read_bytes()
    learner.fit(1, progress=False)

    def fails(*_):
        raise error

    monkeypatch.setattr(os, step, fails)
    with pytest.raises(type(error)):
        learner.save(file)
    assert file.read_bytes() == old
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk(tmp_path):
    resource = pytest.importorskip("resource", reason="not run: no limits of a process here")
    file, learner = tmp_path / "file", make()
    learner.save(file)
    old = file.read_bytes()
    learner.fit(1, progress=False)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(old) // 2, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            learner.save(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == old
    assert os.listdir(tmp_path) == ["file"]


def test_many_write_to_one_path_and_one_of_them_is_there(tmp_path):
    contents = [bytes([i]) * 200_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            list(pool.map(lambda data: write_whole(tmp_path / "file", data), contents))
            assert (tmp_path / "file").read_bytes() in contents
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.skipif(os.name != "posix", reason="not run: needs links and a umask")
def test_a_link_stays_one_and_others_may_read(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    before = os.umask(0o022)
    try:
        write_whole(tmp_path / "link", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").stat().st_mode & 0o777 == 0o644


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    "The bytes of a file, and a learner that it fits."
    learner = make()
    learner.fit(2, progress=False)
    file = tmp_path_factory.mktemp("kept") / "file"
    learner.save(file)
    return file.read_bytes(), learner


def refused(content, learner, file):
    "What is said to a content; nothing may have changed."
    before = training_state(learner)
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(file))) as error:
        learner.load(file)
    assert same(training_state(learner), before)
    return str(error.value)


def test_a_flipped_bit_anywhere_is_found(kept, tmp_path):
    content, learner = kept
    header = 8 + int.from_bytes(content[:8], "little")
    draw = random.Random(0)
    places = [*range(header), *draw.sample(range(header, len(content)), 300)]
    for at in places:
        bent = bytearray(content)
        bent[at] ^= 1 << draw.randrange(8)
        refused(bytes(bent), learner, tmp_path / "file")


def test_a_cut_anywhere_is_found(kept, tmp_path):
    content, learner = kept
    for end in (*range(0, 200), *range(200, len(content), 97), len(content) - 1):
        assert "not a whole safetensors file" in refused(content[:end], learner, tmp_path / "file")
    assert "not a whole" in refused(content + b"0", learner, tmp_path / "file")


def edited(content, change):
    "The file with a header that was changed by hand."
    n = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + n])
    change(header["__metadata__"])
    new = json.dumps(header).encode()
    return len(new).to_bytes(8, "little") + new + content[8 + n :]


def test_an_edit_by_hand_is_found(kept, tmp_path):
    content, learner = kept
    (tmp_path / "same").write_bytes(edited(content, lambda header: None))
    read_state(tmp_path / "same")
    bent = edited(content, lambda h: h.update(state=h["state"].replace('"lr", 0.', '"lr", 1.')))
    assert bent != content
    assert "changed since it was written" in refused(bent, learner, tmp_path / "file")
    bent = edited(content, lambda header: header.pop("sha256"))
    assert "changed since it was written" in refused(bent, learner, tmp_path / "file")


def test_another_version_is_named(kept, tmp_path):
    content, learner = kept
    newer = edited(content, lambda header: header.update(format="2"))
    assert "format 2, made by another version" in refused(newer, learner, tmp_path / "file")
    older = edited(content, lambda header: header.pop("format"))
    assert "format 0, made by another version" in refused(older, learner, tmp_path / "file")


def test_a_path_may_be_text_and_an_interrupt_in_reading_comes_through(kept, tmp_path, monkeypatch):
    content, learner = kept
    learner.save(str(tmp_path / "file"))
    learner.load(str(tmp_path / "file"))

    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "safe_open", interrupt)
    with pytest.raises(KeyboardInterrupt):
        learner.load(tmp_path / "file")


def test_foreign_files_are_refused_and_never_unpickled(kept, tmp_path):
    _, learner = kept
    called = []

    class Trap:
        def __reduce__(self):
            return called.append, (1,)

    torch.save({"model": Trap()}, tmp_path / "pickle")
    for content in ((tmp_path / "pickle").read_bytes(), b"", b"{}", b"PK\x03\x04", bytes(1000)):
        assert "not a whole safetensors file" in refused(content, learner, tmp_path / "file")
    foreign = safetensors.torch.save(
        {f"h.{i}": torch.ones(1) for i in range(300)}, {"format": "pt"}
    )
    said = refused(foreign, learner, tmp_path / "file")
    assert "is for another model" in said
    assert len(said) < 500
    for other in (["no training"], {"epoch": 1}):
        write_state(other, tmp_path / "other")
        said = refused((tmp_path / "other").read_bytes(), learner, tmp_path / "file")
        assert "no training is kept in it" in said
    assert not called


@pytest.mark.parametrize("n", [3, 4, 5, 9])
def test_of_many_misfits_four_are_named_and_the_others_counted(n, kept, tmp_path):
    _, learner = kept
    weights = dict(learner.model.state_dict())
    for i in range(n):
        weights[f"new.{i}"] = torch.ones(2)
    said = refused(safetensors.torch.save(weights), learner, tmp_path / "file")
    named = "; ".join(f"new.{i} [2], needed None" for i in range(min(n, 4)))
    more = f"; and {n - 4} more" if n > 4 else ""
    assert said == f"{tmp_path / 'file'} is for another model: {named}{more}"


def test_weights_alone_are_read_and_the_rest_stays(tmp_path):
    "Files of safetensors itself, and of versions that saved nothing else."
    a, b = make(seed=1), make(seed=2)
    a.fit(1, progress=False)
    b.fit(2, progress=False)
    safetensors.torch.save_file(a.model.state_dict(), tmp_path / "weights")
    before = training_state(b)
    b.load(tmp_path / "weights")
    assert same(training_state(b), before | {"model": dict(a.model.state_dict())})


OTHERS = {
    "its optimizer is mnist_walkthrough.SGD, not mnist_walkthrough.Adam": {"optimizer": "Adam"},
    "its optimizer is mnist_walkthrough.SGD, not torch.SGD": {"optimizer": "torch's SGD"},
    "zip": {"loader": "ours, global generator"},
}


@pytest.mark.parametrize("says", OTHERS)
def test_a_file_of_another_training_changes_nothing(says, kept, tmp_path):
    content, _ = kept
    said = refused(content, make(**OTHERS[says]), tmp_path / "file")
    assert "is of another training: " in said
    assert says in said


def test_a_learner_without_optimizer_takes_model_and_history(kept, tmp_path):
    content, learner = kept
    (tmp_path / "file").write_bytes(content)
    here = torch.get_rng_state()
    bare = Learner(None, None, make(seed=3).model, None, cross_entropy)
    torch.set_rng_state(here)
    bare.load(tmp_path / "file")
    assert same(bare.model.state_dict(), learner.model.state_dict())
    assert same(bare.history, learner.history)
    assert torch.equal(torch.get_rng_state(), here)
    bare.save(tmp_path / "bare")
    assert read_state(tmp_path / "bare")["optimizer"] is None


def test_the_tensors_have_the_names_that_the_model_gives_them(kept, tmp_path):
    content, learner = kept
    tensors = safetensors.torch.load(content)
    for name, value in learner.model.state_dict().items():
        assert torch.equal(tensors[f"model/{name}"], value)
