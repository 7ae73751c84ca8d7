"Convolution, pooling, batch norm and the optimizers are torch's; changes to digits and the recipes do what they say."

import math
from itertools import pairwise
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mnist_walkthrough import (
    SGD,
    DataLoader,
    ImageDataset,
    Linear,
    ReLU,
    Sequential,
    cross_entropy,
    digits,
)
from mnist_walkthrough.accuracy import one_cycle
from mnist_walkthrough.convnet import (
    FEW,
    LADDER,
    NETS,
    RECIPES,
    BatchNorm2d,
    Conv2d,
    ConvRecipe,
    Flatten,
    MaxPool2d,
    Muon,
    OneVector,
    affine,
    affine_places,
    as_input,
    convnet_run,
    elastic,
    elastic_moves,
    few_changed,
    few_input,
    few_net,
    few_right,
    few_train,
    orthogonalize,
    out_size,
    scores,
    straight,
    train_convnet,
    unfold,
)
from mnist_walkthrough.loader import train_loop
from mnist_walkthrough.net import init_he_, max_difference

BOUNDS = {torch.float64: 1e-12, torch.float32: 1e-5}  # of the largest value
OWN = SimpleNamespace(
    Sequential=Sequential,
    Conv2d=Conv2d,
    BatchNorm2d=BatchNorm2d,
    ReLU=ReLU,
    MaxPool2d=MaxPool2d,
    Flatten=Flatten,
    Linear=Linear,
)


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def close(ours, theirs, at_least=0):
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    scale = max(at_least, theirs.abs().max()) if theirs.numel() else 0
    assert ((ours - theirs).abs() <= BOUNDS[ours.dtype] * scale).all()


def agrees(ours, theirs, x, at_least=0):
    "Value, gradients by the input and by each parameter, and the buffers afterwards."
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    a, b = ours(inputs[0]), theirs(inputs[1])
    close(a, b)
    grad = random(*b.shape, seed=1, dtype=b.dtype)
    a.backward(grad)
    b.backward(grad)
    close(inputs[0].grad, inputs[1].grad, at_least)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad)
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for key, value in theirs.state_dict().items():
        if value.is_floating_point():
            close(ours.state_dict()[key], value)
        else:
            assert torch.equal(ours.state_dict()[key], value)


WINDOWS = [(1, 1, 0), (3, 1, 1), (5, 2, 2), (2, 2, 0), (2, 3, 1), (4, 3, 3), (6, 1, 0)]


@pytest.mark.parametrize("shape", [(2, 3, 7, 9), (1, 1, 6, 6), (0, 2, 6, 8)])
@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
def test_unfold_is_torchs_bit_for_bit(shape, k, s, p):
    x = random(*shape)
    before = x.clone()
    assert torch.equal(unfold(x, k, s, p), F.unfold(x, k, stride=s, padding=p))
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("channels", [(1, 1), (1, 8), (3, 1), (4, 5)])
@pytest.mark.parametrize(("k", "s", "p"), WINDOWS)
def test_conv(k, s, p, channels, dtype):
    ours = Conv2d(*channels, k, s, p).to(dtype)
    theirs = nn.Conv2d(*channels, k, s, p).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    agrees(ours, theirs, random(3, channels[0], 11, 8, dtype=dtype))


def test_conv_of_no_image():
    assert Conv2d(2, 3, 3)(torch.zeros(0, 2, 5, 6)).shape == (0, 3, 3, 4)


@pytest.mark.parametrize("sizes", [(1, 8, 5), (8, 16, 3), (2, 3, 1)])
def test_conv_begins_with_the_very_weights_of_torchs(sizes):
    for seed in range(3):
        torch.manual_seed(seed)
        library = nn.Conv2d(*sizes)
        torch.manual_seed(seed)
        ours = Conv2d(*sizes)
        given = Conv2d(*sizes, generator=torch.Generator().manual_seed(seed))
        assert max_difference(ours, library) == 0
        assert max_difference(given, library) == 0


def test_a_start_of_one_s_own_knows_the_number_of_inputs():
    layer = Conv2d(20, 50, 5, init_=init_he_, generator=torch.Generator().manual_seed(0))
    assert layer.weight.var().item() == pytest.approx(2 / 500, rel=0.03)
    assert not layer.bias.any()


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize(("k", "s"), [(2, None), (3, 2), (2, 3), (1, 1), (3, 1)])
def test_max_pool(k, s, dtype):
    x = random(3, 4, 9, 7, dtype=dtype)
    agrees(MaxPool2d(k, s), nn.MaxPool2d(k, s), x)
    agrees(MaxPool2d(k, s), nn.MaxPool2d(k, s), x.relu())  # many ties
    agrees(MaxPool2d(k, s), nn.MaxPool2d(k, s), x.round())


def test_max_pool_passes_nan_on():
    x = torch.tensor([[[[1.0, float("nan")], [2.0, 3.0]]]])
    assert MaxPool2d(2)(x).isnan().all()


def trained(dtype, **options):
    "A batch norm of each kind with weights of its own."
    ours, theirs = BatchNorm2d(4, **options), nn.BatchNorm2d(4, **options)
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.copy_(torch.tensor([0.5, 1.0, -2.0, 3.0]))
            q.copy_(p)
    return ours.to(dtype), theirs.to(dtype)


@pytest.mark.parametrize("dtype", BOUNDS)
@pytest.mark.parametrize("options", [{}, {"eps": 0.5}, {"momentum": 0.3}])
@pytest.mark.parametrize("shape", [(20, 4, 3, 5), (2, 4, 1, 1), (1, 4, 2, 1)])
def test_batch_norm_in_both_modes(shape, options, dtype):
    at_least = 1  # of two values the gradient is nearly 0, a difference of numbers of that size
    ours, theirs = trained(dtype, **options)
    for seed in range(3):
        agrees(ours, theirs, 3 * random(*shape, seed=seed + 5, dtype=dtype) + 2, at_least)
    agrees(ours.eval(), theirs.eval(), random(*shape, seed=9, dtype=dtype))
    agrees(ours, theirs, random(1, 4, 1, 1, seed=9, dtype=dtype))
    agrees(ours.train(), theirs.train(), random(*shape, seed=10, dtype=dtype), at_least)


def test_one_value_has_no_variance():
    layer = BatchNorm2d(4)
    with pytest.raises(ValueError, match=r"one value has no variance.*\[1, 4, 1, 1\]"):
        layer(torch.ones(1, 4, 1, 1))
    assert layer.num_batches_tracked == 0


@pytest.mark.parametrize(
    "sizes", [(5, 6), (5, 3, 0), (5, 3, 1, -1), (0, 1), (5, 0)], ids=lambda s: str(s)
)
def test_a_window_without_a_place_is_refused(sizes):
    with pytest.raises(ValueError, match=f"no place for a window of {sizes[1]} on {sizes[0]} pix"):
        out_size(*sizes)
    if sizes[0]:
        with pytest.raises(ValueError, match="no place"):
            unfold(torch.zeros(1, 1, sizes[0], 28), *sizes[1:])


def test_out_size_is_torchs():
    for size, k, s, p in ((28, 5, 2, 2), (28, 3, 1, 0), (7, 2, 2, 0), (9, 4, 3, 1)):
        assert (
            out_size(size, k, s, p) == nn.Conv2d(1, 1, k, s, p)(torch.zeros(1, 1, 9, size)).shape[3]
        )


def net(parts, dtype):
    torch.manual_seed(0)
    return parts.Sequential(
        parts.Conv2d(1, 4, 3, stride=2, padding=1),
        parts.BatchNorm2d(4),
        parts.ReLU(),
        parts.MaxPool2d(2),
        parts.Conv2d(4, 6, 2),
        parts.BatchNorm2d(6),
        parts.ReLU(),
        parts.Flatten(),
        parts.Linear(24, 10),
    ).to(dtype)


def test_a_whole_run():
    nets = [net(parts, torch.float64) for parts in (OWN, nn)]
    x, y = random(150, 1, 12, 12), torch.arange(150) % 10
    for each in nets:
        order = torch.Generator().manual_seed(0)
        batches = DataLoader((x, y), 40, shuffle=True, generator=order)
        train_loop(each, batches, SGD(each.parameters(), lr=0.1), cross_entropy, 20)
    close(nets[0].state_dict()["5.running_var"], nets[1].state_dict()["5.running_var"])
    assert max_difference(*nets) < 1e-12
    assert max_difference(nets[0], net(OWN, torch.float64)) > 0.01


def test_weights_can_be_exchanged():
    ours, theirs = net(OWN, torch.float32), net(nn, torch.float32)
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


def slipped_unfold(x, kernel_size, stride=1, padding=0):
    "Pixel by pixel, all channels of a pixel together."
    columns = unfold(x, kernel_size, stride, padding)
    n, k, places = columns.shape
    return columns.view(n, x.shape[1], -1, places).transpose(1, 2).reshape(n, k, places)


def test_these_tests_see_what_accuracy_does_not(monkeypatch):
    monkeypatch.setattr("mnist_walkthrough.convnet.unfold", slipped_unfold)
    test_conv(3, 1, 1, (1, 8), torch.float64)  # with one channel there is no order to get wrong
    with pytest.raises(AssertionError):
        test_conv(3, 1, 1, (4, 5), torch.float64)


def test_an_affine_change_of_nothing_changes_nothing():
    x = random(3, 1, 28, 20, dtype=torch.float32)
    assert (affine(x, degrees=0, scale=0, pixels=0, shear=0) - x).abs().max() < 1e-4
    assert (elastic(x, strength=0) - x).abs().max() < 1e-4


def still(*shape):
    return F.affine_grid(torch.eye(2, 3).expand(shape[0], 2, 3), list(shape), align_corners=False)


def test_affine_places_stay_within_their_limits():
    none = {"degrees": 0, "scale": 0, "pixels": 0, "shear": 0}
    shape = torch.Size([200, 1, 28, 20])
    start = still(*shape)
    half = torch.tensor([20 / 2, 28 / 2])  # pixels in a unit of places
    moves = (affine_places(shape, **none | {"pixels": 3}) - start) * half
    assert 2.8 < moves.abs().max() <= 3 + 1e-4
    assert (moves - moves[:, :1, :1]).abs().max() < 1e-4
    square = still(200, 1, 28, 28)
    turned = affine_places(torch.Size([200, 1, 28, 28]), **none | {"degrees": 30})
    assert (turned.norm(dim=3) - square.norm(dim=3)).abs().max() < 1e-5
    cosines = F.cosine_similarity(turned[:, 0, 0], square[:, 0, 0], dim=1)
    assert math.radians(28) < cosines.acos().max() <= math.radians(30) + 1e-3
    slanted = affine_places(torch.Size([200, 1, 28, 28]), **none | {"shear": 0.2}) - square
    assert slanted[..., 1].abs().max() < 1e-6
    assert 0.18 < (slanted[..., 0] / square[..., 1]).abs().max() <= 0.2 + 1e-4


def test_each_image_has_its_own_draw_and_a_generator_repeats_them():
    x = random(1, 1, 28, 28, dtype=torch.float32).expand(2, 1, 28, 28)
    for change in (affine, elastic):
        once, again = (change(x, torch.Generator().manual_seed(0)) for _ in range(2))
        assert torch.equal(once, again)
        assert not torch.allclose(once[0], once[1], atol=0.1)


def test_elastic_moves_are_a_smoothed_draw():
    moves = elastic_moves(torch.Size([2, 1, 28, 28]), 34.0, 4.0, torch.Generator().manual_seed(0))
    draw = torch.rand(2, 2, 28, 28, generator=torch.Generator().manual_seed(0)) * 2 - 1
    at = torch.arange(-27, 28)
    kernel = torch.exp(-(at**2) / 32) / (4 * math.sqrt(2 * math.pi))
    rows = F.conv2d(draw.flatten(0, 1)[:, None], kernel.view(1, 1, 1, -1), padding=(0, 27))
    both = F.conv2d(rows, kernel.view(1, 1, -1, 1), padding=(27, 0)).view(2, 2, 28, 28)
    assert (moves * 14 - 34 * both.permute(0, 2, 3, 1)).abs().max() < 1e-4


def moments(images):
    "Centre of the ink along x and y, and its covariance, in pixels."
    ink = images[:, 0] / images.sum((1, 2, 3))[:, None, None]
    at = torch.arange(28.0)
    x, y = (ink * at).sum((1, 2)), (ink * at[:, None]).sum((1, 2))
    return x, y, (ink * at * at[:, None]).sum((1, 2)) - x * y


def test_straight_digits_are_upright_and_in_the_middle(thousand):
    images = thousand.images[::25, None] / 255
    assert moments(images)[2].abs().mean() > 3
    x, y, covariance = moments(straight(images))
    assert (x - 13.5).abs().max() < 0.6
    assert (y - 13.5).abs().max() < 0.6
    assert covariance.abs().mean() < 0.6
    twice = straight(straight(images))
    assert (twice - straight(images)).abs().mean() < 0.02
    assert not straight(torch.zeros(1, 1, 28, 28)).any()


@pytest.fixture(scope="module")
def thousand(own_cache):
    return ImageDataset(digits() / "training")


@pytest.mark.parametrize("shape", [(16, 25), (32, 144), (40, 12)])
def test_orthogonal_steps_keep_directions_and_level_their_sizes(shape):
    matrix = random(*shape)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    s = s / s.norm()
    for _ in range(3):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    found = orthogonalize(matrix.float())
    assert found.dtype == torch.float32
    assert (found - u * s @ v).norm() < 0.03 * s.norm()  # bfloat16 has 8 digits
    assert (orthogonalize(matrix.float() * 1000) - found).norm() < 0.03 * s.norm()
    assert not orthogonalize(torch.zeros(shape)).any()


def moved_by(optimizer, net, thousand):
    for rows in torch.arange(1000).view(50, 20).T:
        optimizer.zero_grad()
        x = as_input(thousand.images[rows], ConvRecipe(dtype="float32"))
        F.cross_entropy(net(x), thousand.y[rows]).backward()
        optimizer.step(1.0) if isinstance(optimizer, Muon) else optimizer.step()
    return net


def new_net(name):
    torch.manual_seed(0)
    return NETS[name](24)


@pytest.mark.parametrize("name", ["strided", "normed", "deep"])
def test_one_vector_moves_as_torchs_adam_moves_the_tensors(name, thousand):
    recipe = ConvRecipe(optimizer="adam", dtype="float32")
    ours, theirs = new_net(name), new_net(name)
    moved_by(Muon(ours, recipe), ours, thousand)
    adam = torch.optim.Adam(theirs.parameters(), recipe.lr, recipe.betas, fused=True)
    moved_by(adam, theirs, thousand)
    assert max_difference(ours, theirs) < 1e-6


def test_the_net_computes_with_a_rounded_copy_and_batch_norm_without():
    net = new_net("normed")
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    weights = OneVector(net, torch.bfloat16)
    for name, p in net.named_parameters():
        norm = before[name].dim() == 1 and name.startswith("4.")
        assert p.dtype == (torch.float32 if norm else torch.bfloat16)
        assert torch.equal(p, before[name].to(p.dtype))
    assert weights.vector.numel() == sum(p.numel() for p in before.values())
    weights.vector += 1
    weights.load()
    for name, p in net.named_parameters():
        assert torch.equal(p, (before[name] + 1).to(p.dtype))


def test_muon_is_torchs_to_the_rounding_of_bfloat16():
    ours, theirs = (nn.Linear(30, 50, bias=False) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    start, recipe = ours.weight.detach().clone(), ConvRecipe(dtype="float32")
    options = {"momentum": 0.8, "ns_steps": 3, "weight_decay": 0}
    optimizers = (
        Muon(ours, recipe),
        torch.optim.Muon(theirs.parameters(), recipe.muon_lr, **options),
    )
    for seed in range(5):
        ours.weight.grad.copy_(random(50, 30, seed=seed))
        theirs.weight.grad = ours.weight.grad.clone()
        optimizers[0].step(1.0)
        optimizers[1].step()
    assert (ours.weight - theirs.weight).norm() < 0.02 * (ours.weight - start).norm()


def test_muon_leaves_biases_and_the_last_layer_to_adam():
    muon = Muon(new_net("deep"), ConvRecipe())
    assert [list(weight.shape[:2]) for weight, _ in muon.inner] == [
        [16, 1], [32, 16], [32, 32], [64, 32], [64, 64],
    ]  # fmt: skip
    assert not Muon(new_net("deep"), ConvRecipe(optimizer="adam")).inner


def test_each_rung_changes_something_and_the_last_is_the_recipe():
    assert all(a != b for a, b in pairwise(LADDER.values()))
    assert [*LADDER.values()][-1] == RECIPES["99.0"] == ConvRecipe()
    assert sum(p.numel() for p in NETS[RECIPES["best"].net](24).parameters()) < 100_000


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_recipe_trains_again_to_the_same_net(recipe, thousand):
    recipe = recipe._replace(n_epochs=5, batch_size=100)
    before = thousand.images.clone(), torch.get_rng_state()
    once, again = (train_convnet(recipe, thousand.images, thousand.y, seed=0) for _ in range(2))
    other = train_convnet(recipe, thousand.images, thousand.y, seed=1)
    assert torch.equal(thousand.images, before[0])
    assert torch.equal(torch.get_rng_state(), before[1])
    assert not once.training
    found = [scores(net, thousand.images, recipe) for net in (once, again, other)]
    assert (found[0] - found[1]).abs().max() < 0.1
    assert not torch.allclose(found[0], found[2], atol=0.1)
    assert (found[0].argmax(1) == thousand.y).float().mean() > 0.9


def all_differ(nets):
    "Told apart by the squares of the output layer's weights."
    ends = sorted(float(net[-1].weight.detach().double().square().sum()) for net in nets)
    assert all(b - a > 1e-6 for a, b in pairwise(ends)), ends


def test_every_field_of_a_recipe_counts(thousand):
    base = ConvRecipe(n_epochs=1, batch_size=50, dtype="float32")
    changes = [
        {},
        {"net": "normed"},
        {"n_epochs": 0.8},
        {"batch_size": 25},
        {"optimizer": "adam"},
        {"lr": 0.01},
        {"betas": (0.9, 0.9)},
        {"betas": (0.7, 0.99)},
        {"muon_lr": 0.06},
        {"warm_up": 0},
        {"warm_up": 0.5},
        {"smoothing": 0},
        {"crop": 1},
        {"moves": "shift"},
        {"moves": "affine"},
        {"dtype": "bfloat16"},
    ]
    pixels = thousand.images[::4], thousand.y[::4]
    all_differ(train_convnet(base._replace(**change), *pixels, seed=0) for change in changes)


def test_every_field_of_a_recipe_for_few_digits_counts(thousand):
    changes = [
        {},
        {"n_epochs": 3},
        {"lr": 0.02},
        {"weight_decay": 0.1},
        {"affine": False},
        {"elastic": 0.0},
        {"elastic": 48.0},
        {"upright": False},
    ]
    base, pixels = FEW["784-30-10"]._replace(n_epochs=2), (thousand.images[::5], thousand.y[::5])
    all_differ(few_train(base._replace(**change), *pixels, seed=0) for change in changes)


def test_few_digits_are_trained_as_written_out_here(thousand):
    recipe = FEW["784-30-10"]._replace(n_epochs=2, affine=False, elastic=0.0, upright=False)
    images, y = thousand.images[::5], thousand.y[::5]
    torch.manual_seed(3)
    net, generator = few_net(recipe), torch.Generator().manual_seed(3)
    optimizer = torch.optim.AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=1e-4)
    for epoch in range(2):
        x = (few_changed(few_input(images, recipe), recipe, generator) * 255 - 33.32) / 78.57
        for i, rows in enumerate(torch.randperm(200, generator=generator).split(100)):
            optimizer.param_groups[0]["lr"] = 0.01 * one_cycle((2 * epoch + i) / 4, 0.2)
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    assert max_difference(few_train(recipe, images, y, seed=3), net) < 1e-4


def test_a_first_program_trains_too(thousand):
    found = convnet_run(LADDER["a first program"]._replace(n_epochs=3), thousand, thousand, seed=0)
    assert found["accuracy"] > 0.9


def test_input_is_standardised_without_the_border():
    images = (random(6, 28, 28).abs() * 60).to(torch.uint8)
    x = as_input(images, ConvRecipe(dtype="float32"))
    assert x.shape == (6, 1, 24, 24)
    assert torch.allclose(x[:, 0], (images[:, 2:-2, 2:-2].float() - 33.32) / 78.57)


@pytest.mark.parametrize("name", FEW)
def test_few_digits_are_learned_from_changed_ones(name, thousand):
    recipe = FEW[name]._replace(n_epochs=6)
    part = thousand.images[::2], thousand.y[::2]
    once, again = (few_train(recipe, *part, seed=0) for _ in range(2))
    assert max_difference(once, again) < 1e-3
    assert few_right(once, recipe, thousand.images[1::2], thousand.y[1::2]).float().mean() > 0.7
    plain = recipe._replace(affine=False, elastic=0.0, upright=False)
    x = few_input(thousand.images, plain)
    assert torch.equal(x[:, 0] * 255, thousand.images.float())
    assert few_changed(x, plain, torch.Generator()) is x
