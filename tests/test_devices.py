"""The same code on a GPU, CUDA or Apple's MPS, against the CPU; where there is none, its tests are reported as not run.

The file stands alone: `python -m pytest tests/test_devices.py --noconftest` needs pytest and what the package needs."""

import pytest
import torch
from torch.nn import functional as F

from mnist_walkthrough import SGD, Callback, DataLoader, ImageDataset, cross_entropy, digits
from mnist_walkthrough.accuracy import Adam
from mnist_walkthrough.net import max_difference
from mnist_walkthrough.scale import (
    Checkpoint,
    Distributed,
    InBFloat16,
    export_onnx,
    make_learner,
    process_group,
)

pytestmark = pytest.mark.filterwarnings("default")  # what drivers warn of is no failure of ours
AVAILABLE = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
STEPS = 20  # of 50 rows: one epoch of the shipped digits


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MNIST_WALKTHROUGH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=AVAILABLE)
def device(request):
    if not AVAILABLE[request.param]():
        pytest.skip(f"not run: no {request.param} device here")
    return request.param


def learner_on(device, *callbacks, **settings):
    return make_learner(callbacks, batch_size=50, device=device, **settings)


def same_weights(a, b, within):
    for (name, p), (_, q) in zip(a.named_parameters(), b.named_parameters(), strict=True):
        assert (p.cpu() - q.cpu()).abs().max() < within, name


def test_a_loader_gives_the_same_batches_on_the_device(device):
    train = ImageDataset(digits() / "training")
    loaders = [
        DataLoader((train.x.to(d), train.y.to(d)), 64, True, generator=torch.Generator())
        for d in ("cpu", device)
    ]
    for loader in loaders:
        loader.generator.manual_seed(0)
    for (x, y), (x_there, y_there) in zip(*loaders, strict=True):
        assert {x_there.device.type, y_there.device.type} == {device}
        assert torch.equal(x, x_there.cpu())
        assert torch.equal(y, y_there.cpu())


def test_a_data_set_lives_where_it_is_told_to(device):
    folder = digits() / "testing"
    here, there = ImageDataset(folder), ImageDataset(folder, device=device)
    assert there.x.device.type == there.y.device.type == device
    assert torch.equal(here.x, there.x.cpu())


@pytest.mark.parametrize(("dtype", "within"), [("float32", 1e-5), ("float64", 1e-12)])
def test_a_training_ends_where_that_of_the_cpu_ends(device, dtype, within):
    if (device, dtype) == ("mps", "float64"):
        pytest.skip("not run: MPS has no float64")
    there, here = (learner_on(d, dtype=getattr(torch, dtype)) for d in (device, "cpu"))
    same_weights(there.model, here.model, within=1e-30)
    before = [p.detach().clone() for p in here.model.parameters()]
    for learner in (there, here):
        learner.fit(1, progress=False)
        assert len(learner.train_dl) == STEPS
    assert {p.device.type for p in there.model.parameters()} == {device}
    same_weights(there.model, here.model, within)
    moved = [(p - q).abs().max() for p, q in zip(here.model.parameters(), before, strict=True)]
    assert min(moved) > 100 * within
    for name in ("train_loss", "valid_loss"):
        assert there.history[0][name] == pytest.approx(here.history[0][name], abs=within)
    assert there.history[0]["accuracy"] == pytest.approx(here.history[0]["accuracy"], abs=0.002)


def test_own_parts_equal_torchs_on_the_device(device):
    ours, theirs = learner_on(device), learner_on(device)
    theirs.optimizer = torch.optim.SGD(theirs.model.parameters(), lr=0.1, momentum=0.9)
    theirs.loss_fn = F.cross_entropy
    assert isinstance(ours.optimizer, SGD)
    assert ours.loss_fn is cross_entropy
    for learner in (ours, theirs):
        learner.fit(1, progress=False)
    same_weights(ours.model, theirs.model, within=1e-4)


def test_weights_are_saved_and_read_on_either_side(device, tmp_path):
    there, here = learner_on(device), learner_on("cpu", seed=0)
    there.save(tmp_path / "weights.safetensors")
    here.load(tmp_path / "weights.safetensors")
    same_weights(there.model, here.model, within=1e-30)
    again = learner_on(device, seed=0)
    here.save(tmp_path / "weights.safetensors")
    again.load(tmp_path / "weights.safetensors")
    assert max_difference(again.model, there.model) == 0
    assert {p.device.type for p in again.model.parameters()} == {device}


OPTIMIZERS = {
    "SGD": lambda p: SGD(p, lr=0.1, momentum=0.9),
    "Adam": lambda p: Adam(p, lr=1e-3),
    "torch's AdamW": lambda p: torch.optim.AdamW(p, lr=1e-3),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("first", ["device", "cpu"])
def test_a_training_is_saved_on_one_side_and_goes_on_on_the_other(
    device, first, optimizer, tmp_path
):
    def new(where, seed=37):
        learner = learner_on(where, seed=seed)
        learner.optimizer = OPTIMIZERS[optimizer](learner.model.parameters())
        return learner

    order = [device, "cpu"] if first == "device" else ["cpu", device]
    begun, rest, whole = new(order[0]), new(order[1], seed=0), new("cpu")
    begun.fit(1, progress=False)
    begun.save(tmp_path / "run")
    rest.load(tmp_path / "run")
    rest.fit(1, progress=False)
    whole.fit(2, progress=False)
    assert [row["epoch"] for row in rest.history] == [1, 2]
    same_weights(rest.model, whole.model, within=1e-3)


def test_an_interrupt_undoes_its_epoch_there(device):
    class Finger(Callback):
        left = STEPS + 5

        def before_step(self, learner):
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt

    learner, whole = learner_on(device, Finger()), learner_on(device)
    with pytest.raises(KeyboardInterrupt):
        learner.fit(3, progress=False)
    assert len(learner.history) == 1
    learner.fit(2, progress=False)
    whole.fit(3, progress=False)
    same_weights(learner.model, whole.model, within=1e-6)


def test_an_interrupted_training_goes_on_there(device, tmp_path):
    whole = learner_on(device)
    whole.fit(3, progress=False)
    file = tmp_path / "run.safetensors"
    learner_on(device, Checkpoint(file)).fit(2, progress=False)
    rest = learner_on(device, Checkpoint(file), seed=0)
    rest.fit(3, progress=False)
    assert [row["epoch"] for row in rest.history] == [1, 2, 3]
    same_weights(rest.model, whole.model, within=1e-6)
    assert {v.device.type for v in rest.optimizer.velocity.values()} == {device}


def test_the_devices_generator_stands_where_it_stood(device, tmp_path):
    file = tmp_path / "run.safetensors"
    torch.manual_seed(5)
    learner_on(device, Checkpoint(file)).fit(1, progress=False)
    following = torch.rand(8, device=device)
    torch.manual_seed(6)
    learner_on(device, Checkpoint(file)).fit(1, progress=False)
    assert torch.equal(torch.rand(8, device=device), following)


@pytest.mark.parametrize("first", ["device", "cpu"])
def test_a_checkpoint_moves_between_devices(device, first, tmp_path):
    file, order = tmp_path / "run.safetensors", [device, "cpu"]
    if first == "cpu":
        order.reverse()
    learner_on(order[0], Checkpoint(file)).fit(1, progress=False)
    moved = learner_on(order[1], Checkpoint(file), seed=0)
    moved.fit(2, progress=False)
    whole = learner_on("cpu")
    whole.fit(2, progress=False)
    same_weights(moved.model, whole.model, within=1e-3)


def test_bfloat16_products_there(device):
    learner = learner_on(device)
    net, x = learner.model, learner.valid_dl.dataset.tensors[0]
    logits = InBFloat16(net)(x)
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, net(x))
    assert (logits - net(x)).abs().max() < 0.05
    learner.model = InBFloat16(net)
    learner.fit(10, progress=False)
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert learner.history[-1]["accuracy"] > 0.8


def test_a_net_there_is_exported(device, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime", reason="not run: needs onnxruntime")
    pytest.importorskip("onnxscript", reason="not run: needs onnxscript")
    learner = learner_on(device)
    learner.fit(1, progress=False)
    x = learner.valid_dl.dataset.tensors[0]
    export_onnx(learner.model, tmp_path / "digits.onnx", x[:2])
    assert {p.device.type for p in learner.model.parameters()} == {device}
    session = onnxruntime.InferenceSession(tmp_path / "digits.onnx")
    answer = torch.from_numpy(session.run(None, {"x": x.cpu().numpy()})[0])
    assert (answer - learner.predict(x).cpu()).abs().max() < 1e-4


def test_a_group_of_one_there(device, monkeypatch):
    if device == "mps":
        pytest.skip("not run: torch's process groups have no backend for MPS")
    if not torch.distributed.is_nccl_available():
        pytest.skip("not run: torch without nccl")
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "lo")
    single = learner_on(device)
    single.fit(1, progress=False)
    with process_group(device) as here:
        grouped = learner_on(here, Distributed(here))
        grouped.fit(1, progress=False)
    same_weights(grouped.model, single.model, within=1e-5)
    assert grouped.history[0]["valid_loss"] == pytest.approx(
        single.history[0]["valid_loss"], abs=1e-5
    )
