"""One call of each public name, with arguments that are made anew for it: two calls differ in nothing but
in the state of the process. `CALLS` is {module: {name: call}}; a call takes an empty folder to write in."""

import contextlib
import gzip
import io
import os
import struct
import tarfile
import zlib
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import mkdtemp
from unittest import mock

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from mnist_walkthrough import (
    SGD,
    DataLoader,
    Learner,
    Sequential,
    check,
    convnet,
    cross_entropy,
    data,
    digits,
    gradients,
    guess,
    inspect,
    learner,
    loader,
    loss,
    metric,
    mlp,
    net,
    optimizer,
    play,
    results,
    scale,
    speed,
)

advice = import_module("mnist_walkthrough.accuracy")  # the package has the function by this name

NOWHERE = "http://127.0.0.1:9/"  # refused at once
SHAPE = torch.Size([4, 1, 28, 28])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random(*shape, seed=0):
    return torch.rand(shape, generator=seeded(seed))


def rows(n=24):
    "x [n, 4], y [n] of three classes."
    return random(n, 4), torch.arange(n) % 3


def small():
    return mlp(4, 5, 3, generator=seeded())


def theirs():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def make(cls=Learner, callbacks=()):
    "A learner of 24 rows."
    batches, model = DataLoader(rows(), 8, shuffle=True, generator=seeded(1)), small()
    moves = SGD(model.parameters(), 0.1, momentum=0.9)
    others = DataLoader(rows(), 8)
    return cls(batches, others, model, moves, cross_entropy, [metric.accuracy], callbacks)


def fitted(cls=Learner, callbacks=()):
    (made := make(cls, callbacks)).fit(2, progress=False)
    return made


def after_two_steps(of):
    "The net whose parameters `of` has moved twice."
    moves = of((model := small()).parameters())
    for _ in range(2):
        moves.zero_grad()
        cross_entropy(model(rows()[0]), rows()[1]).backward()
        moves.step()
    return model


def logits():
    return small()(rows()[0]).detach()


def training():
    return digits() / "training"


def file():
    return data.class_files(training(), 1)[3][0]


def png():
    return file().read_bytes()


def few(n=3):
    return data.ImageDataset(training(), num_samples=n)


def pair():
    return TensorDataset(*few().tensors)


def images(n=4):
    return few().images[:n]


def images_and_y():
    return few().images, few().y


def maps(n=4):
    return images(n)[:, None] / 255


def idx(folder):
    "The four files of a set of three images in each part."
    pixels, labels = np.arange(48, dtype=np.uint8).reshape(3, 4, 4), np.arange(3, dtype=np.uint8)
    files = [folder / name for name in data.IDX_FILES]
    for path, array in zip(files, [pixels, labels] * 2, strict=True):
        head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
        path.write_bytes(head + array.tobytes())
    return files


def archive(folder):
    "An archive with one image in each part."
    with tarfile.open(folder / "some.tgz", "w:gz") as tar:
        for split in ("training", "testing"):
            member = tarfile.TarInfo(f"mnist_png/{split}/3/1.png")
            member.size = len(png())
            tar.addfile(member, io.BytesIO(png()))
    return folder / "some.tgz"


def tar(folder):
    return gzip.decompress(archive(folder).read_bytes())


def read(path):
    with data.unzipped(path) as stream:
        return stream.read()


def packed(folder):
    data.write_pack(folder / "pack", images(3), torch.arange(3), {"a": "b"})
    return data.packed(folder / "pack", (28, 28), {"a": "b"})


def cleared(folder):
    with mock.patch.dict(os.environ, {"MNIST_WALKTHROUGH_CACHE": str(folder)}):
        digits()
        return data.clear_cache()


def refused(kind, call, *args):
    with pytest.raises(kind) as caught:
        call(*args)
    return type(caught.value).__name__


def no_download(folder):
    with mock.patch.object(data, "SOURCES", [(NOWHERE, data.PNG_ARCHIVE)]):
        return refused(OSError, data.download, folder)


def shards(folder):
    scale.write_shards(few().images, few().y, folder, 8)
    return sorted(folder.glob("*.safetensors"))


def some_shards():
    folder = Path(mkdtemp())
    shards(folder)
    return folder


def distributed():
    with scale.process_group():
        return fitted(callbacks=[scale.Distributed()])


def alone():
    with scale.process_group() as device:
        return str(device), scale.world_size(), scale.rank(), scale.of_all(torch.ones(2))


def started(folder):
    "The weights after an epoch in a process of its own."
    with scale.processes(1, folder / "run", "--epochs", "1") as run:
        run.communicate()
    return learner.read_state(folder / "run")["model"]


def restored():
    learner.restore(made := make(), learner.training_state(fitted()))
    return made


def restored_here():
    scale.restore_here(made := make(), scale.state_of_all(fitted()))
    return made


def undone():
    with contextlib.suppress(KeyError), learner.undone_by_error(made := fitted()):
        made.train_epoch()
        raise KeyError
    return made


def resumed(folder):
    fitted(callbacks=[scale.Checkpoint(folder / "run")])
    (made := make(callbacks=[scale.Checkpoint(folder / "run")])).fit(3, progress=False)
    return made


def with_weights(folder):
    (made := fitted()).save(folder / "weights")
    (other := make()).load(folder / "weights")
    return made, other, other.predict(rows()[0])


def share(dl):
    given = scale.Share(dl)
    return list(given), given.part


def watched():
    with loss.Watch(model := small()) as watch:
        model(rows()[0])
    return watch.found


def begun():
    with learner.fitting(made := make(), [learner.Recorder()]):
        return len(made.callbacks)


def measured():
    with learner.eval_mode(model := small()):
        return model(rows()[0]), model.training


@torch.no_grad()
def fast_linear():
    return speed.FastLinear(net.Linear(4, 3, generator=seeded()), 24, 4, 8, True).forward(rows()[0])


def backward():
    "Gradients of the nodes that lead to one number."
    x = gradients.Node(random(2, 3))
    ways = gradients.relu(x) + gradients.exp(x) * gradients.log(x)
    picked = gradients.pick(ways @ x.T, torch.tensor([1, 0]))
    gradients.backward(last := gradients.total(picked, (0, 1)))
    return last.data, x.grad, len(gradients.topological_order(last))


def one_vector():
    vector = convnet.OneVector(net_ := theirs(), torch.bfloat16)
    net_(rows()[0].bfloat16()).sum().backward()
    vector.collect()
    return vector.vector, vector.grad


def convnet_step(of):
    moves = of(net_ := theirs(), convnet.ConvRecipe(dtype="float32", optimizer="muon"))
    for _ in range(2):
        moves.zero_grad()
        net_(rows()[0]).sum().backward()
        moves.step(0.5)
    return net_


def drawn(of):
    "A net of torch's layers, begun with the same numbers each time."
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(*made) if isinstance(made := of(), list) else made


def quick(recipe, **changes):
    return recipe._replace(n_epochs=1, **changes)


def stream(folder):
    shards(folder)
    batches = scale.ShardStream(folder, 4, 8, seeded())
    return list(batches), batches.state()


def exported(folder):
    scale.export_onnx(small(), folder / "net.onnx", rows()[0])
    return (folder / "net.onnx").read_bytes()


def site(folder):
    play.site_files(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def on_state(folder):
    learner.write_state({"a": [random(2), 1]}, folder / "state")
    return learner.read_state(folder / "state")


def drawing():
    (made := make()).model = mlp(784, 30, 10, generator=seeded())
    return play.DrawDigit(made).answer


def optimizers():
    "What an optimizer remembers, put into another."
    made, other = fitted(), make()
    learner.load_optimizer_state(other.optimizer, learner.optimizer_state(made.optimizer))
    return learner.optimizer_state(other.optimizer)


CALLS = {
    "data": {
        "cache_folder": lambda to: data.cache_folder().is_dir(),
        "once": lambda to: data.once(to / "once", lambda into: 0).is_dir(),
        "discard": lambda to: data.discard(to),
        "digits": lambda to: digits().is_dir(),
        "show_images": lambda to: data.show_images(images()),
        "as_squares": lambda to: data.as_squares(images()),
        "png_chunks": lambda to: list(data.png_chunks(png())),
        "is_whole": lambda to: data.is_whole(digits().parent),
        "visible": lambda to: len(data.visible(training())),
        "image_names": lambda to: len(data.image_names(training() / "3")),
        "without_others": lambda to: data.without_others(png()),
        "state_of": lambda to: data.state_of(training()),
        "checksum": lambda to: data.checksum(images(), few().y),
        "write_pack": lambda to: data.write_pack(to / "pack", images(3), torch.arange(3), {}),
        "packed": packed,
        "unzipped": lambda to: read(idx(to)[1]),
        "read_all": lambda to: data.read_all(io.BytesIO(b"abc"), 2),
        "tar_members": lambda to: [file for _, file in data.tar_members(tar(to))],
        "archived_images": lambda to: list(data.archived_images(tar(to))),
        "cached": lambda to: len(data.cached()) > 0,
        "clear_cache": cleared,
        "check_whole": lambda to: data.check_whole(1, n=1),
        "check_size": lambda to: data.check_size((28, 28)),
        "paeth": lambda to: data.paeth(1, 2, 3),
        "unfilter": lambda to: data.unfilter(4, b"abc", b"def"),
        "png_size": lambda to: data.png_size(list(data.png_chunks(png()))),
        "inflate": lambda to: data.inflate(zlib.compress(b"abc"), 3),
        "png_rows": lambda to: data.png_rows(png()),
        "decode_png": lambda to: data.decode_png(png()),
        "by_number": lambda to: data.by_number("a10.png"),
        "class_names": lambda to: [*data.class_names(training(), 2).values()],
        "class_files": lambda to: [
            len(files) for files in data.class_files(training(), 2).values()
        ],
        "decode_with_pillow": lambda to: data.decode_with_pillow(png()),
        "read_image": lambda to: data.read_image(file(), (28, 28), data.decode_png),
        "paeth_of_arrays": lambda to: data.paeth_of_arrays(*np.arange(9).reshape(3, 3)),
        "unfilter_all": lambda to: data.unfilter_all(np.ones((2, 3, 5), np.uint8)),
        "read_file": lambda to: data.read_file(str(file())),
        "known_rows": lambda to: data.known_rows(png(), 28 * 29),
        "stored_rows": lambda to: list(data.stored_rows([str(file())], (28, 28))),
        "decode_files": lambda to: data.decode_files([str(file())]),
        "read_files": lambda to: data.read_files(data.class_names(training(), 1), (28, 28)),
        "fingerprint": lambda to: data.fingerprint([file()]),
        "pack_of": lambda to: data.pack_of(training()).name,
        "read_folder": lambda to: data.read_folder(training(), (28, 28)),
        "ImageDataset": lambda to: few(),
        "read_idx": lambda to: data.read_idx(idx(to)[0]),
        "write_pngs": lambda to: data.write_pngs(idx(to), to / "pngs"),
        "unpack": lambda to: data.unpack(archive(to), to / "some"),
        "find_idx": lambda to: idx(to) and len(data.find_idx(to)),
        "own_copy": lambda to: data.own_copy(archive(to)).name,
        "fetch": lambda to: refused(OSError, data.fetch, NOWHERE + "a", 1, "0" * 32, to),
        "download": no_download,
        "mnist": lambda to: data.mnist(digits()).name,
    },
    "loader": {
        "gather": lambda to: loader.gather(pair(), torch.tensor([3, 1])),
        "DataLoader": lambda to: list(DataLoader(rows(), 7, shuffle=True, generator=seeded())),
        "as_dataset": lambda to: loader.as_dataset(*rows()).tensors,
        "RandomOrder": lambda to: list(loader.RandomOrder(9, seeded())),
        "train_loop": lambda to: loader.train_loop(
            (model := small()), [rows()], SGD(model.parameters(), 0.1), cross_entropy, 2
        ),
        "score": lambda to: loader.score(small(), loader.as_dataset(*rows())),
        "spread": lambda to: loader.spread([0.5, 0.6]),
    },
    "net": {
        "ReLU": lambda to: net.ReLU()(random(3)),
        "Sequential": lambda to: Sequential(net.ReLU())(random(3)),
        "n_inputs": lambda to: net.n_inputs(random(5, 4)),
        "init_default_": lambda to: net.init_default_(random(5, 4), random(5), seeded()),
        "Linear": lambda to: net.Linear(4, 5, generator=seeded()),
        "check_input": lambda to: net.check_input(random(4), random(5, 4)),
        "mlp": lambda to: small(),
        "max_difference": lambda to: net.max_difference(small(), theirs()),
        "init_unscaled_": lambda to: mlp(4, 3, init_=net.init_unscaled_, generator=seeded()),
        "init_he_": lambda to: mlp(4, 3, init_=net.init_he_, generator=seeded()),
        "init_zeros_": lambda to: mlp(4, 3, init_=net.init_zeros_),
    },
    "optimizer": {
        "refuse_negative": lambda to: optimizer.refuse_negative(lr=0.1),
        "check_params": lambda to: optimizer.check_params([*small().parameters()]),
        "Optimizer": lambda to: optimizer.Optimizer(small().parameters()).zero_grad(),
        "SGD": lambda to: after_two_steps(partial(SGD, lr=0.1, momentum=0.9)),
    },
    "loss": {
        "NonFinite": lambda to: str(loss.NonFinite(0, "loss", "log", (0,), 1.0)),
        "first_nonfinite": lambda to: loss.first_nonfinite(random(3).log() / 0, "loss", "log"),
        "Watch": lambda to: watched(),
        "find_nonfinite": lambda to: loss.find_nonfinite(
            (model := small()), cross_entropy, SGD(model.parameters(), 0.1), [rows()]
        ),
        "log_softmax": lambda to: loss.log_softmax(logits()),
        "check_target": lambda to: loss.check_target(logits(), rows()[1]),
        "nll_loss": lambda to: loss.nll_loss(logits(), rows()[1]),
        "cross_entropy": lambda to: cross_entropy(logits(), rows()[1]),
    },
    "metric": {
        "accuracy": lambda to: metric.accuracy(logits(), rows()[1]),
        "Mean": lambda to: metric.Mean().update(0.5, 3),
        "confusion_matrix": lambda to: metric.confusion_matrix(logits(), rows()[1]),
        "show_confusion": lambda to: metric.show_confusion(torch.eye(3)),
        "binomial_interval": lambda to: metric.binomial_interval(5, 9),
    },
    "learner": {
        "Callback": lambda to: fitted(callbacks=[learner.Callback()]),
        "as_callbacks": lambda to: len(learner.as_callbacks([learner.Callback()])),
        "backward_from": lambda to: learner.backward_from(small()(rows()[0]).sum()),
        "Loop": lambda to: learner.Loop.train_epoch(make()),
        "eval_mode": lambda to: measured(),
        "evaluate": lambda to: learner.evaluate(small(), [rows()], {"loss": cross_entropy}),
        "Trained": with_weights,
        "as_optimizer": lambda to: learner.as_optimizer((made := make()).optimizer, made.model).lr,
        "pack": lambda to: learner.pack({"a": [random(2), 1]}, {}),
        "unpack": lambda to: learner.unpack(learner.pack([1, {"b": 2}], {}), {}),
        "write_whole": lambda to: learner.write_whole(to / "file", b"abc"),
        "checksum": lambda to: learner.checksum("abc", {"a": random(2)}),
        "write_state": on_state,
        "read_state": on_state,
        "kind_of": lambda to: learner.kind_of(make().optimizer),
        "optimizer_state": lambda to: optimizers(),
        "to_device": lambda to: learner.to_device(random(2), torch.device("cpu")),
        "load_optimizer_state": lambda to: optimizers(),
        "generators_of": lambda to: len(learner.generators_of(make().train_dl)),
        "random_modules": lambda to: list(learner.random_modules(small())),
        "training_state": lambda to: learner.training_state(fitted())["model"],
        "restore": lambda to: restored(),
        "Saved": with_weights,
        "undone_by_error": lambda to: undone(),
        "misfits": lambda to: learner.misfits(small().state_dict(), {}),
        "end_all": lambda to: learner.end_all([learner.Callback()], make()),
        "fitting": lambda to: begun(),
        "by_name": lambda to: list(learner.by_name([metric.accuracy])),
        "Learner": lambda to: fitted(),
        "epoch_row": lambda to: learner.epoch_row({"epoch": 1, "train_loss": 0.5}),
        "Progress": lambda to: make().fit(1),
        "plot_history": lambda to: learner.plot_history(fitted().history),
        "Recorder": lambda to: (
            fitted(callbacks=[recorder := learner.Recorder()]) and recorder.losses
        ),
        "EarlyStop": lambda to: fitted(callbacks=[learner.EarlyStop(1)]),
        "StopOnNonFinite": lambda to: fitted(callbacks=[learner.StopOnNonFinite()]),
        "load_split": lambda to: learner.load_split(digits() / "testing", own=False).tensors,
        "make_parts": lambda to: learner.make_parts({"net"}, pair(), 0)[1],
        "Run": lambda to: learner.Run(small(), 0.5, 0.5),
        "train_with": lambda to: learner.train_with({"net"}, pair(), pair(), range(2), seed=1),
    },
    "play": {
        "crop": lambda to: play.crop(maps()[0, 0]),
        "fit": lambda to: play.fit(maps()[0, 0]),
        "centre": lambda to: play.centre(maps()[0, 0, 4:24, 4:24]),
        "prepare": lambda to: play.prepare(maps()[0, 0]),
        "answer": lambda to: play.answer(small(), rows()[0][:1]),
        "show_answer": lambda to: play.show_answer(
            mlp(784, 30, 10, generator=seeded()), few().x[:1]
        ),
        "bundle": lambda to: play.bundle("worker.js"),
        "Tool": lambda to: repr(play.Tool()),
        "stored_digits": lambda to: play.stored_digits(),
        "DrawDigit": lambda to: drawing(),
        "flat": lambda to: play.flat(small()),
        "experiment_data": lambda to: play.experiment_data(),
        "Experiment": lambda to: repr(play.Experiment()),
        "site_files": site,
    },
    "gradients": {
        "check_grad": lambda to: gradients.check_grad(random(2, 3), [2, 3]),
        "layers_of": lambda to: len(gradients.layers_of(small())),
        "linear_backward": lambda to: gradients.linear_backward(*map(random, (2, 2, 3), (3, 4, 4))),
        "relu_backward": lambda to: gradients.relu_backward(random(3), random(3) - 0.5),
        "cross_entropy_backward": lambda to: gradients.cross_entropy_backward(
            loss.log_softmax(logits()), rows()[1]
        ),
        "central_difference": lambda to: gradients.central_difference(torch.sum, random(3), 0.1),
        "layer_backward": lambda to: gradients.layer_backward(
            net.Linear(4, 3, generator=seeded()), random(2, 3), random(2, 4), True
        ),
        "forward_backward": lambda to: gradients.forward_backward(small(), *rows()),
        "HandLearner": lambda to: fitted(gradients.HandLearner),
        "Node": lambda to: gradients.Node(random(2, 3)).T.data,
        "relu": lambda to: gradients.relu(gradients.Node(random(3))).data,
        "exp": lambda to: gradients.exp(gradients.Node(random(3))).data,
        "log": lambda to: gradients.log(gradients.Node(random(3))).data,
        "total": lambda to: gradients.total(gradients.Node(random(3)), (0,)).data,
        "pick": lambda to: gradients.pick(gradients.Node(random(1, 3)), torch.tensor([2])).data,
        "unbroadcast": lambda to: gradients.unbroadcast(random(2, 3), torch.Size([3])),
        "topological_order": lambda to: backward(),
        "backward": lambda to: backward(),
    },
    "inspect": {
        "show_signed": lambda to: inspect.show_signed(random(2, 4, 4) - 0.5),
        "activations": lambda to: inspect.activations((model := small()), model[1], rows()[0]),
        "Pair": lambda to: str(inspect.Pair(1, 2, 3, 9)),
        "worst_pairs": lambda to: inspect.worst_pairs(logits(), rows()[1]),
        "check_rows": lambda to: inspect.check_rows(logits(), rows()[1]),
        "top_losses": lambda to: inspect.top_losses(logits(), rows()[1]),
        "show_top_losses": lambda to: inspect.show_top_losses(
            few().images[:24], logits(), rows()[1]
        ),
        "Bins": lambda to: inspect.reliability(logits(), rows()[1]),
        "reliability": lambda to: inspect.reliability(logits(), rows()[1]),
        "show_reliability": lambda to: inspect.show_reliability({"net": logits()}, rows()[1]),
        "expected_calibration_error": lambda to: inspect.expected_calibration_error(
            logits(), rows()[1]
        ),
        "calibration_errors_by_chance": lambda to: inspect.calibration_errors_by_chance(
            logits(), n_draws=5, generator=seeded()
        ),
        "temperature": lambda to: inspect.temperature(
            torch.eye(3).repeat(2, 1), torch.tensor([0, 1, 2, 0, 1, 0])
        ),
        "grad_times_input": lambda to: inspect.grad_times_input(small(), rows()[0]),
        "principal_axes": lambda to: inspect.principal_axes(rows()[0]),
        "show_map": lambda to: inspect.show_map(random(9, 2), torch.arange(9) % 3),
    },
    "speed": {
        "in_turn": lambda to: list(speed.in_turn({"a": list, "b": dict}, 2)),
        "quartiles": lambda to: speed.quartiles([1.0, 2.0, 4.0]),
        "against": lambda to: speed.against({"a": [1.0, 2.0], "b": [2.0, 2.0]}, "a"),
        "show_ratios": lambda to: speed.show_ratios({"ours": (1.0, 1.1, 1.2)}, "title", "a"),
        "FastLinear": lambda to: fast_linear(),
        "FastReLU": lambda to: speed.FastReLU(24, 4, random(1)).forward(rows()[0] - 0.5),
        "FastCrossEntropy": lambda to: speed.FastCrossEntropy(24, 3, random(1))(
            logits(), rows()[1]
        ),
        "chain": lambda to: len(speed.chain(small())),
        "FastNet": lambda to: speed.FastNet(small(), 24, 8)(*rows()),
        "FastLearner": lambda to: fitted(speed.FastLearner),
        "show_bench": lambda to: speed.show_bench(results.stored("speed_bench")),
    },
    "accuracy": {
        "subset": lambda to: advice.subset(few(), torch.tensor([3, 1])),
        "split_train": lambda to: advice.split_train(few(), 9, seed=1),
        "Standardize": lambda to: advice.Standardize.of(images()),
        "adam_move": lambda to: advice.adam_move(
            *(random(3, seed=i) for i in range(4)), 1, 0.1, (0.9, 0.99), 1e-8
        ),
        "Adam": lambda to: after_two_steps(partial(advice.Adam, lr=0.1)),
        "constant": lambda to: advice.constant(0.3),
        "cosine": lambda to: advice.cosine(0.3),
        "one_cycle": lambda to: advice.one_cycle(0.3),
        "Schedule": lambda to: fitted(callbacks=[advice.Schedule(advice.one_cycle, 0.1)]),
        "smooth_cross_entropy": lambda to: advice.smooth_cross_entropy(logits(), rows()[1]),
        "along": lambda to: str(advice.along(1, 5)),
        "shift": lambda to: advice.shift(images()),
        "PixelLoader": lambda to: list(advice.PixelLoader(few(), 7, generator=seeded())),
        "Recipe": lambda to: advice.Recipe(),
        "check_choice": lambda to: advice.check_choice(("sgd", "adam"), optimizer="sgd"),
        "new_net": lambda to: advice.new_net(advice.Recipe(), few(), seed=1),
        "new_optimizer": lambda to: advice.new_optimizer(advice.Recipe(), small()).lr,
        "fit": lambda to: advice.fit(quick(advice.Recipe()), few(), seed=1),
        "share_right": lambda to: advice.share_right(
            advice.new_net(advice.Recipe(), few(), seed=1), few()
        ),
    },
    "convnet": {
        "out_size": lambda to: convnet.out_size(28, 5),
        "check_images": lambda to: convnet.check_images(maps(), 1),
        "check_pixels": lambda to: convnet.check_pixels(*images_and_y()),
        "check_recipe": lambda to: convnet.check_recipe(convnet.ConvRecipe(), 300),
        "unfold": lambda to: convnet.unfold(maps(), 5),
        "Conv2d": lambda to: convnet.Conv2d(1, 2, 5, generator=seeded())(maps()).detach(),
        "MaxPool2d": lambda to: convnet.MaxPool2d(2)(maps()),
        "channel_statistics": lambda to: convnet.channel_statistics(maps()),
        "BatchNorm2d": lambda to: convnet.BatchNorm2d(1)(maps()).detach(),
        "Flatten": lambda to: convnet.Flatten()(maps()),
        "affine_places": lambda to: convnet.affine_places(SHAPE, generator=seeded()),
        "bell": lambda to: convnet.bell(9, 2.0),
        "elastic_moves": lambda to: convnet.elastic_moves(SHAPE, generator=seeded()),
        "look": lambda to: convnet.look(maps(), random(4, 28, 28, 2)),
        "affine": lambda to: convnet.affine(maps(), seeded()),
        "elastic": lambda to: convnet.elastic(maps(), seeded()),
        "straight": lambda to: convnet.straight(maps()),
        "block": lambda to: drawn(lambda: convnet.block(1, 2)),
        "FewRecipe": lambda to: convnet.FewRecipe(),
        "few_net": lambda to: drawn(lambda: convnet.few_net(convnet.FEW["convnet"])),
        "few_input": lambda to: convnet.few_input(images(), convnet.FewRecipe()),
        "few_changed": lambda to: convnet.few_changed(maps(), convnet.FewRecipe(), seeded()),
        "few_train": lambda to: convnet.few_train(
            quick(convnet.FEW["convnet"]), few().images, few().y, seed=1
        ),
        "few_right": lambda to: convnet.few_right(
            drawn(lambda: convnet.few_net(convnet.FewRecipe())),
            convnet.FewRecipe(),
            *images_and_y(),
        ),
        "with_head": lambda to: drawn(
            lambda: convnet.with_head(nn.Sequential(nn.Conv2d(1, 2, 5)), 28)
        ),
        "pooled_net": lambda to: drawn(lambda: convnet.pooled_net(28)),
        "strided_net": lambda to: drawn(lambda: convnet.strided_net(28)),
        "normed_net": lambda to: drawn(lambda: convnet.normed_net(28)),
        "deep_net": lambda to: drawn(lambda: convnet.deep_net(28)),
        "ConvRecipe": lambda to: convnet.ConvRecipe(),
        "as_input": lambda to: convnet.as_input(images(), convnet.ConvRecipe()),
        "with_moves": lambda to: convnet.with_moves(images(), convnet.RECIPES["best"], seeded()),
        "OneVector": lambda to: one_vector(),
        "orthogonalize": lambda to: convnet.orthogonalize(random(5, 3)),
        "Muon": lambda to: convnet_step(convnet.Muon),
        "PlainAdam": lambda to: convnet_step(convnet.PlainAdam),
        "train_convnet": lambda to: convnet.train_convnet(
            quick(convnet.RECIPES["best"], batch_size=10), *images_and_y(), seed=1
        ),
        "scores": lambda to: convnet.scores(
            drawn(lambda: convnet.strided_net(24).bfloat16()), images(), convnet.ConvRecipe()
        ),
        "convnet_run": lambda to: convnet.convnet_run(
            quick(convnet.ConvRecipe(), batch_size=10), few(), few(), seed=1
        )["accuracy"],
    },
    "scale": {
        "make_learner": lambda to: scale.make_learner(seed=1),
        "rank": lambda to: scale.rank(),
        "world_size": lambda to: scale.world_size(),
        "Share": lambda to: share(DataLoader(rows(), 7, shuffle=True, generator=seeded())),
        "Replica": lambda to: distributed(),
        "add_shares": lambda to: distributed(),
        "on_rows": lambda to: scale.on_rows(cross_entropy)(logits(), rows()[1]),
        "same_draws": lambda to: scale.same_draws(rows()),
        "Distributed": lambda to: distributed(),
        "process_group": lambda to: alone(),
        "processes": started,
        "state_of_all": lambda to: scale.state_of_all(fitted())["model"],
        "restore_here": lambda to: restored_here(),
        "of_all": lambda to: scale.of_all(random(3)),
        "Checkpoint": resumed,
        "write_shards": lambda to: len(shards(to)),
        "read_blocks": lambda to: list(scale.read_blocks(shards(to), 5)),
        "shuffle_buffer": lambda to: list(scale.shuffle_buffer([rows()], 24, seeded())),
        "rebatch": lambda to: list(scale.rebatch([rows()], 7)),
        "ShardStream": stream,
        "clumping": lambda to: scale.clumping([rows()[1]], torch.ones(3) / 3),
        "InBFloat16": lambda to: scale.InBFloat16(small())(rows()[0]).detach(),
        "export_onnx": exported,
    },
    "guess": {
        "Guess": lambda to: guess.Guess("a name", "one", "other").question,
        "Truth": lambda to: guess.Guess("a name", "one", "other").reveal("one").words,
    },
    "results": {
        "Result": lambda to: results.Result("today", {}, [{"a": 1}]).where(a=1),
        "made_here": lambda to: results.made_here([]).machine,
        "stored": lambda to: results.stored("speed_bench").runs,
    },
    "check": {
        "Progress": lambda to: repr(check.progress()),
        "Verdict": lambda to: repr(check.Verdict("linear")),
        "progress": lambda to: check.progress().solved,
    },
}


WITHOUT = {  # what is drawn when no generator is given
    "loader": {
        "DataLoader": lambda: list(DataLoader(rows(), 7, shuffle=True)),
        "RandomOrder": lambda: list(loader.RandomOrder(9)),
    },
    "net": {
        "init_default_": lambda: mlp(4, 3, init_=net.init_default_),
        "init_unscaled_": lambda: mlp(4, 3, init_=net.init_unscaled_),
        "init_he_": lambda: mlp(4, 3, init_=net.init_he_),
        "Linear": lambda: net.Linear(4, 5),
        "mlp": lambda: mlp(4, 5, 3),
    },
    "inspect": {
        "calibration_errors_by_chance": lambda: inspect.calibration_errors_by_chance(logits()),
    },
    "accuracy": {"PixelLoader": lambda: list(advice.PixelLoader(few(), 7))},
    "convnet": {
        "Conv2d": lambda: convnet.Conv2d(1, 2, 5),
        "affine_places": lambda: convnet.affine_places(SHAPE),
        "elastic_moves": lambda: convnet.elastic_moves(SHAPE),
        "affine": lambda: convnet.affine(maps()),
        "elastic": lambda: convnet.elastic(maps()),
        "block": lambda: nn.Sequential(*convnet.block(1, 2)),
        "few_net": lambda: convnet.few_net(convnet.FewRecipe()),
        "with_head": lambda: convnet.with_head(nn.Sequential(nn.Conv2d(1, 2, 5)), 28),
        "pooled_net": lambda: convnet.pooled_net(28),
        "strided_net": lambda: convnet.strided_net(28),
        "normed_net": lambda: convnet.normed_net(28),
        "deep_net": lambda: convnet.deep_net(28),
    },
    "scale": {"ShardStream": lambda: list(scale.ShardStream(some_shards(), 4, 8))},
}
