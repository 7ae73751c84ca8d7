"Processes, interruptions, streams, bfloat16 and ONNX: the training stays the same."

import os
import re
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnxruntime
import pytest
import torch
from torch import nn

from mnist_walkthrough import (
    SGD,
    Callback,
    DataLoader,
    ImageDataset,
    Learner,
    cross_entropy,
    digits,
    mlp,
    scale,
)
from mnist_walkthrough.accuracy import Adam, Schedule, one_cycle
from mnist_walkthrough.learner import read_state, write_state
from mnist_walkthrough.metric import accuracy
from mnist_walkthrough.net import max_difference
from mnist_walkthrough.scale import (
    Checkpoint,
    Distributed,
    InBFloat16,
    ShardStream,
    Share,
    clumping,
    export_onnx,
    make_learner,
    on_rows,
    process_group,
    processes,
    read_blocks,
    rebatch,
    same_draws,
    shuffle_buffer,
    write_shards,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# What belongs to whom


@pytest.mark.parametrize("n", [1, 2, 3, 7])
@pytest.mark.parametrize(("rows", "batch_size"), [(20, 6), (21, 20), (5, 1), (12, 4)])
def test_the_shares_are_every_batch_without_overlap(n, rows, batch_size, monkeypatch):
    monkeypatch.setattr(scale, "world_size", lambda: n)
    data = torch.arange(float(rows))[:, None], torch.arange(rows)
    shares = []
    for r in range(n):
        monkeypatch.setattr(scale, "rank", lambda r=r: r)
        share, parts = Share(DataLoader(data, batch_size, True, generator=seeded())), []
        batches = []
        for xb, yb in share:
            assert torch.equal(xb[:, 0].long(), yb)
            batches.append(yb)
            parts.append(share.part)
        assert share.rows == sum(map(len, batches))
        assert len(share) == len(batches)
        shares.append((batches, parts))
    whole = [yb for _, yb in DataLoader(data, batch_size, True, generator=seeded())]
    for k, batch in enumerate(whole):
        assert torch.equal(torch.cat([batches[k] for batches, _ in shares]), batch)
        assert sum(parts[k] for _, parts in shares) == pytest.approx(1)
        sizes = [len(batches[k]) for batches, _ in shares]
        assert max(sizes) - min(sizes) <= 1


def test_no_rows_give_zero_and_no_gradient():
    net = mlp(4, 3, 2)
    loss = on_rows(cross_entropy)(net(torch.empty(0, 4)), torch.empty(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0
    assert all((p.grad == 0).all() for p in net.parameters())
    x, y = torch.rand(3, 4), torch.tensor([0, 1, 1])
    assert on_rows(cross_entropy)(net(x), y) == cross_entropy(net(x), y)


@pytest.mark.parametrize("generator", [None, torch.default_generator])
def test_permutations_from_the_global_generator_are_refused(generator):
    data = torch.rand(4, 2), torch.arange(4)
    with pytest.raises(ValueError, match="give the loader a generator="):
        same_draws(DataLoader(data, 2, shuffle=True, generator=generator))
    same_draws(DataLoader(data, 2))
    same_draws([data])


def test_a_group_of_one_changes_nothing_and_puts_all_back():
    single, alone = (make_learner(c, dtype=torch.float64) for c in ((), [Distributed()]))
    parts = {k: v for k, v in vars(alone).items() if k not in ("history", "n_epochs")}
    single.fit(3, progress=False)
    with process_group():
        alone.fit(3, progress=False)
    assert max_difference(single.model, alone.model) == 0
    for one, other in zip(single.history, alone.history, strict=True):
        assert one | {"seconds": 0} == pytest.approx(other | {"seconds": 0}, abs=1e-12)
    assert {k: vars(alone)[k] for k in parts} == parts | {
        k: vars(alone)[k] for k in ("xb", "yb", "loss") if k in parts
    }


def test_parts_are_put_back_after_an_error():
    class Stops(Callback):
        def before_step(self, learner):
            raise KeyboardInterrupt

    learner = make_learner([Distributed(), Stops()])
    model, loss_fn, train_dl = learner.model, learner.loss_fn, learner.train_dl
    with process_group(), pytest.raises(KeyboardInterrupt):
        learner.fit(1, progress=False)
    assert (learner.model, learner.loss_fn, learner.train_dl) == (model, loss_fn, train_dl)


# Processes


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path, monkeypatch):
    "Temporary files go to a folder that is empty again at the end, but for a cache of torch's own."
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield
    assert not [name for name in os.listdir(folder) if not name.startswith("torchinductor")]


def finished(n, *arguments):
    with processes(n, *arguments) as run:
        said, _ = run.communicate(timeout=170)
    assert run.returncode == 0, said
    return said


def weights_and_history(path):
    state = read_state(path)
    return state["model"], state["history"]


def is_the_single_run(path, epochs, within, **settings):
    single = make_learner(**settings)
    single.fit(epochs, progress=False)
    weights, history = weights_and_history(path)
    for name, weight in single.model.state_dict().items():
        assert weights[name].dtype == weight.dtype
        assert (weights[name] - weight).abs().max() <= within, name
    for ours, theirs in zip(history, single.history, strict=True):
        assert ours.keys() == theirs.keys()
        assert all(abs(ours[k] - theirs[k]) <= max(within, 1e-7) for k in ours if k != "seconds")


@pytest.mark.parametrize(
    ("n", "batch_size", "dtype", "within"),
    [(2, 199, "float64", 1e-12), (3, 333, "float64", 1e-12), (2, 256, "float32", 1e-3)],
)
def test_processes_end_where_one_process_ends(n, batch_size, dtype, within, tmp_path):
    file = tmp_path / "run.safetensors"
    said = finished(n, file, "--dtype", dtype, "--epochs", "8", "--batch-size", f"{batch_size}")
    settings = {"batch_size": batch_size, "dtype": getattr(torch, dtype)}
    is_the_single_run(file, 8, within, **settings)
    pids = dict(re.findall(rf"process (\d) of {n}: pid (\d+), cpu", said))
    assert pids.keys() == set(map(str, range(n)))
    assert len(set(pids.values())) == n
    assert len(re.findall(r"^ +\d+  ", said, re.M)) == 8, "a row an epoch, by one process"


def test_the_program_alone_is_the_single_process(run, tmp_path):
    file = tmp_path / "run.safetensors"
    done = run(sys.executable, "-m", "mnist_walkthrough.distributed", file, "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert "process 0 of 1" in done.stdout
    is_the_single_run(file, 2, 0)


def test_two_at_a_time_do_not_meet(tmp_path):
    files = [tmp_path / f"{i}.safetensors" for i in range(2)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda f: finished(2, f, "--epochs", "2", "--dtype", "float64"), files))
    for file in files:
        is_the_single_run(file, 2, 1e-12, dtype=torch.float64)


def is_running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="not run: no /proc")


def until_epoch(run, epoch):
    "The processes by their rank, and that many epochs of the training."
    pids = {}
    for line in run.stdout:
        if found := re.match(r"process (\d) of \d: pid (\d+)", line):
            pids[int(found[1])] = int(found[2])
        if re.match(rf" +{epoch}  ", line):
            return pids
    raise AssertionError("ended before")


@needs_proc
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_all_and_the_training_goes_on(victim, tmp_path):
    file = tmp_path / "run.safetensors"
    command = [file, "--dtype", "float64", "--epochs", "40"]
    with processes(2, *command) as run:
        pids = until_epoch(run, 3)
        os.kill(pids[victim], signal.SIGKILL)
        said = run.stdout.read()
    assert run.returncode == 1
    assert not any(map(is_running, pids.values()))
    cause = said.partition("Root Cause")[2]
    assert re.search(rf"rank +: {victim} ", cause)
    assert re.search(r"exitcode +: -9", cause)
    gone = f"another process of this training is gone; the same command goes on from {file}"
    assert gone in said
    kept = len(read_state(file)["history"])
    assert 3 <= kept < 40
    said = finished(3, *command)
    assert f"\n{kept + 1:8}  " in said
    assert f"\n{kept:8}  " not in said
    is_the_single_run(file, 40, 1e-11, dtype=torch.float64)


@needs_proc
def test_torchrun_starts_them_again(tmp_path, monkeypatch):
    monkeypatch.setenv("PET_MAX_RESTARTS", "2")  # --max-restarts
    file = tmp_path / "run.safetensors"
    with processes(2, file, "--dtype", "float64", "--epochs", "40") as run:
        pids = until_epoch(run, 2)
        os.kill(pids[1], signal.SIGKILL)
        said, _ = run.communicate(timeout=170)
    assert run.returncode == 0, said
    is_the_single_run(file, 40, 1e-12, dtype=torch.float64)


@needs_proc
def test_none_outlives_the_block(tmp_path):
    with processes(2, tmp_path / "run.safetensors", "--epochs", "100000") as run:
        pids = until_epoch(run, 1)
        assert all(map(is_running, pids.values()))
    for _ in range(100):
        if not any(map(is_running, pids.values())):
            break
        time.sleep(0.1)
    assert not any(map(is_running, [run.pid, *pids.values()]))


@pytest.mark.parametrize("options", [[], ["--max-restarts", "3"]])
def test_the_command_as_it_is_printed(options, run, root, tmp_path):
    file = tmp_path / "run.safetensors"
    torchrun = Path(sys.executable).parent / "torchrun"
    command = [torchrun, *options, "--nproc-per-node", "2", "-m", "mnist_walkthrough.distributed"]
    done = run(*command, file, "--epochs", "2", "--dtype", "float64")
    assert done.returncode == 0, done.stdout + done.stderr
    is_the_single_run(file, 2, 1e-12, dtype=torch.float64)


# Interruptions


OPTIMIZERS = {
    "SGD": lambda p: SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: Adam(p, 1e-3),
    "torch's SGD": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9),
    "torch's AdamW": lambda p: torch.optim.AdamW(p, 1e-3, amsgrad=True),
}


def with_dropout(optimizer, callbacks, seed, n_batches=8):
    g = seeded(seed)
    x, y = torch.rand(60, 6, generator=seeded(9)), torch.arange(60) % 3
    net = nn.Sequential(mlp(6, 8, 8, generator=g), nn.BatchNorm1d(8), nn.Dropout(0.3))
    net.append(mlp(8, 3, generator=g))
    train_dl = DataLoader((x, y), 16, shuffle=True, generator=seeded(seed))
    valid_dl = DataLoader((x[:20], y[:20]), 8)
    optimizer = OPTIMIZERS[optimizer](net.parameters())
    return Learner(train_dl, valid_dl, net, optimizer, cross_entropy, [accuracy], callbacks)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_is_bit_for_bit_undisturbed(optimizer, tmp_path):
    def schedule():
        return Schedule(one_cycle, 0.05)

    torch.manual_seed(1)
    whole = with_dropout(optimizer, [schedule()], seed=1)
    whole.fit(9, progress=False)
    file = tmp_path / "run.safetensors"
    torch.manual_seed(1)

    class Stop(Callback):
        def after_epoch(self, learner):
            learner.stop = len(learner.history) == 4
            if learner.stop:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_dropout(optimizer, [schedule(), Checkpoint(file), Stop()], seed=1).fit(9, False)
    torch.manual_seed(2)
    rest = with_dropout(optimizer, [Checkpoint(file), schedule()], seed=2)
    rest.fit(9, progress=False)
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, rest.model.state_dict()[name]), name
    for a, b in zip(whole.history, rest.history, strict=True):
        assert a | {"seconds": 0} == b | {"seconds": 0}


def test_other_generators_are_kept_when_named(tmp_path):
    file, noise = tmp_path / "run.safetensors", seeded(3)
    torch.rand(5, generator=noise)
    make_learner([Checkpoint(file, noise)]).fit(1, progress=False)
    following = torch.rand(4, generator=noise)
    other = seeded(4)
    make_learner([Checkpoint(file, other)]).fit(1, progress=False)
    assert torch.equal(torch.rand(4, generator=other), following)


def test_a_finished_training_is_not_trained_on(tmp_path):
    file = tmp_path / "run.safetensors"
    make_learner([Checkpoint(file)]).fit(2, progress=False)
    before = file.read_bytes()
    again = make_learner([Checkpoint(file)], seed=0)
    again.fit(2, progress=False)
    assert [row["epoch"] for row in again.history] == [1, 2]
    assert file.read_bytes() == before
    again.fit(1, progress=False)
    assert len(again.history) == 3, "a learner that has a history trains so many more"


def test_a_checkpoint_of_another_device_goes_on_here(tmp_path):
    file = tmp_path / "run.safetensors"
    make_learner([Checkpoint(file)], dtype=torch.float64).fit(1, progress=False)
    state = read_state(file)
    state["random"]["cuda"] = torch.zeros(1, 16, dtype=torch.uint8)
    write_state(state, file)
    rest = make_learner([Checkpoint(file)], dtype=torch.float64)
    rest.fit(2, progress=False)
    whole = make_learner(dtype=torch.float64)
    whole.fit(2, progress=False)
    assert max_difference(rest.model, whole.model) == 0


# Streams


@pytest.fixture
def shards(tmp_path):
    "A thousand rows that know their number, in shards of 70."
    images = torch.arange(1000).view(torch.uint8).reshape(1000, 2, 4)
    folder = tmp_path / "shards"
    folder.mkdir()
    write_shards(images, torch.arange(1000), folder, 70)
    return folder


def numbers(batches):
    return [y for _, y in batches]


def test_shards_are_the_data_in_pieces(shards):
    files = sorted(shards.iterdir())
    assert len(files) == 15
    assert files[0].name == "shard-00000.safetensors"
    blocks = list(read_blocks(files, 32))
    assert max(len(y) for _, y in blocks) == 32
    assert torch.equal(torch.cat(numbers(blocks)), torch.arange(1000))
    images = torch.cat([images for images, _ in blocks])
    assert torch.equal(images.reshape(1000, 8).view(torch.int64)[:, 0], torch.arange(1000))


@pytest.mark.parametrize("buffer_size", [1, 2, 64, 300, 999, 1000, 5000])
@pytest.mark.parametrize("batch_size", [1, 64, 1000, 2000])
def test_a_stream_gives_each_row_once(shards, batch_size, buffer_size):
    stream = ShardStream(shards, batch_size, buffer_size, seeded())
    batches = list(stream)
    assert {len(y) for _, y in batches[:-1]} <= {batch_size}
    y = torch.cat(numbers(batches))
    assert torch.equal(y.sort().values, torch.arange(1000))
    x = torch.cat([x for x, _ in batches])
    assert x.dtype == torch.float32
    bytes_of_y = y[:, None].view(torch.uint8).float() / 255
    assert torch.equal(x, bytes_of_y)
    again = torch.cat(numbers(stream))
    assert not torch.equal(y, again)
    assert torch.equal(
        torch.cat(numbers(ShardStream(shards, batch_size, buffer_size, seeded()))), y
    )


def test_a_buffer_holds_no_more_than_its_size():
    taken = 0

    def blocks():
        nonlocal taken
        for i in range(50):
            taken += 10
            yield torch.full((10, 1), i), torch.arange(10 * i, 10 * i + 10)

    given = 0
    for _, y in shuffle_buffer(blocks(), 100, seeded()):
        given += len(y)
        assert taken - given <= 100
    assert given == taken == 500


def test_places_in_the_buffer_are_drawn_evenly():
    "A row that comes first waits as long as chance has it: about `size` further rows, geometrically."
    waits = []
    for seed in range(300):
        pairs = ((torch.zeros(1, 1), torch.tensor([i])) for i in range(400))
        order = torch.cat([y for _, y in shuffle_buffer(pairs, 20, seeded(seed))])
        waits.append((order == 0).nonzero().item())
    assert torch.tensor(waits).float().mean() == pytest.approx(19.0, abs=4)


def test_batches_of_one_size_from_pieces_of_any():
    y = torch.arange(103)
    sizes = [1, 2, 50, 0, 30, 20]
    pieces = [(part.float()[:, None], part) for part in y.split(sizes)]
    batches = list(rebatch(pieces, 25))
    assert [len(y) for _, y in batches] == [25, 25, 25, 25, 3]
    assert torch.equal(torch.cat(numbers(batches)), y)
    assert list(rebatch([], 5)) == []
    assert [len(y) for _, y in rebatch(pieces[:2], 3)] == [3]


@pytest.mark.parametrize("given", [0, 1, 7, 15])
def test_a_stream_goes_on_where_it_was(shards, given):
    stream = ShardStream(shards, 64, 300, seeded(0))
    list(stream)
    batches = iter(stream)
    for _ in range(given):
        next(batches)
    state = stream.state()
    other = ShardStream(shards, 64, 300, seeded(1))
    assert state["given"] == given
    other.resume(state)
    expected = numbers(batches) + numbers(stream)
    got = numbers(other) + numbers(other)
    assert [y.tolist() for y in got] == [y.tolist() for y in expected]


def test_a_stream_of_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="make them with write_shards"):
        ShardStream(tmp_path, 64, 300)


def test_a_stream_trains_as_the_same_rows_in_memory_do(shards, tmp_path):
    train = ImageDataset(digits() / "training")
    folder = tmp_path / "digits"
    folder.mkdir()
    write_shards(train.images, train.y, folder, 100)
    streamed, kept = make_learner(), make_learner()
    streamed.train_dl = ShardStream(folder, 64, 300, seeded(1))
    kept.train_dl = list(ShardStream(folder, 64, 300, seeded(1)))
    for learner in (streamed, kept):
        learner.fit(1, progress=False)
    assert max_difference(streamed.model, kept.model) == 0


def test_a_stream_is_shared_as_a_loader_is(shards):
    with process_group():
        same_draws(ShardStream(shards, 64, 300, seeded()))
        with pytest.raises(ValueError, match="give the loader a generator="):
            same_draws(ShardStream(shards, 64, 300))
    share = Share(ShardStream(shards, 64, 300, seeded()))
    assert torch.equal(
        torch.cat(numbers(share)), torch.cat(numbers(ShardStream(shards, 64, 300, seeded())))
    )


def test_clumping_is_one_by_chance_and_the_batch_when_sorted():
    y = torch.arange(10).repeat_interleave(1000)
    share = torch.full([10], 0.1)
    assert clumping(y.split(50), share) == pytest.approx(50)
    assert clumping(y[torch.randperm(10_000, generator=seeded())].split(50), share) == (
        pytest.approx(1, abs=0.1)
    )
    assert clumping([torch.arange(10)], share) == 0


# bfloat16 and ONNX


def test_bfloat16_is_for_products_only():
    net, x = mlp(784, 30, 10, generator=seeded()), torch.rand(64, 784, generator=seeded(1))
    half = InBFloat16(net)
    logits = half(x)
    assert logits.dtype == torch.float32
    assert 0 < (logits - net(x)).abs().max() < 0.02
    cross_entropy(logits, torch.arange(64) % 10).backward()
    grads = [p.grad.clone() for p in net.parameters()]
    net.zero_grad()
    cross_entropy(net(x), torch.arange(64) % 10).backward()
    for p, grad in zip(net.parameters(), grads, strict=True):
        assert p.dtype == grad.dtype == torch.float32
        assert (p.grad - grad).norm() < 0.1 * p.grad.norm()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    net = mlp(784, 30, 10, generator=seeded()).train()
    path = tmp_path_factory.mktemp("onnx") / "digits.onnx"
    export_onnx(net, path, torch.rand(2, 784, generator=seeded()))
    return net, path


@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
def test_onnxruntime_answers_as_torch(exported, rows):
    net, path = exported
    session = onnxruntime.InferenceSession(path)
    x = ImageDataset(digits() / "testing").x[:rows]
    logits = torch.from_numpy(session.run(None, {"x": x.numpy()})[0])
    assert logits.shape == (rows, 10)
    assert (logits - net(x)).abs().max() < 1e-5


def test_an_exported_file_says_nothing_of_this_machine(exported, root):
    net, path = exported
    text = path.read_bytes()
    assert len(text) < 100_000
    for private in (str(root), "scale.py", "net.py", str(Path.home())):
        assert private.encode() not in text
    assert net.training
    assert os.listdir(path.parent) == ["digits.onnx"]


def test_a_missing_package_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'mnist_walkthrough[onnx]'")):
        export_onnx(mlp(4, 2), tmp_path / "x.onnx", torch.rand(2, 4))
