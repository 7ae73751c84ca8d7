"""The law of each stage, on inputs that hypothesis thinks up."""

import io
import math

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from mnist_walkthrough import (
    SGD,
    DataLoader,
    Mean,
    accuracy,
    cross_entropy,
    decode_png,
    log_softmax,
    mlp,
)
from mnist_walkthrough.accuracy import one_cycle, shift
from mnist_walkthrough.gradients import forward_backward

law = settings(
    derandomize=True,
    deadline=None,
    max_examples=100,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],  # the machine may be busy
)
seeds = st.integers(0, 2**32 - 1)
finite = st.floats(-50, 50, width=32)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@st.composite
def logits(draw, min_rows=1):
    "Rows of scores in float64, [1 to 8, 2 to 12]."
    shape = draw(st.tuples(st.integers(min_rows, 8), st.integers(2, 12)))
    return torch.from_numpy(draw(hnp.arrays(np.float64, shape, elements=finite)))


@law
@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20)),
    st.integers(0, 9),
    st.booleans(),
)
def test_decoding_undoes_pillows_encoding(pixels, level, optimize):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=level, optimize=optimize)
    assert np.array_equal(np.asarray(decode_png(file.getvalue())), pixels)


@law
@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.booleans(), seeds)
def test_batches_partition_the_data(n, batch_size, shuffle, drop_last, seed):
    x = torch.arange(n)
    loader = DataLoader((x, -x), batch_size, shuffle, drop_last, seeded(seed))
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader)
        assert all(torch.equal(xb, -yb) for xb, yb in batches)
        assert all(len(xb) == batch_size for xb, _ in batches[: None if drop_last else -1])
        seen = [i for xb, _ in batches for i in xb.tolist()]
        assert len(seen) == len(set(seen)) == (n - n % batch_size if drop_last else n)
        assert shuffle or seen == list(range(len(seen)))


@law
@given(logits())
def test_softmax_sums_to_one(z):
    log_p = log_softmax(z)
    assert (log_p <= 0).all()
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(len(z)).double(), rtol=0, atol=1e-12)


@law
@given(logits(), st.floats(-1e4, 1e4))
def test_softmax_does_not_see_shifts(z, shift):
    torch.testing.assert_close(log_softmax(z + shift), log_softmax(z), rtol=0, atol=1e-10)


@law
@given(st.integers(1, 8), st.integers(1, 1000), st.floats(-1e30, 1e30), st.data())
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(n, n_classes, value, data):
    classes = st.integers(0, n_classes - 1)
    target = torch.tensor(data.draw(st.lists(classes, min_size=n, max_size=n)))
    loss = cross_entropy(torch.full((n, n_classes), value, dtype=torch.float64), target)
    assert math.isclose(loss.item(), math.log(n_classes), rel_tol=1e-12, abs_tol=1e-12)


@law
@given(logits(min_rows=2), st.lists(st.integers(0, 8), max_size=5), seeds)
def test_a_mean_does_not_see_the_cuts(z, cuts, seed):
    "For accuracy and for the loss; pieces of nothing among them."
    target = torch.randint(z.shape[1], (len(z),), generator=seeded(seed))
    ends = [*sorted(min(cut, len(z)) for cut in cuts), len(z)]
    for measure in (accuracy, cross_entropy):
        mean = Mean()
        for start, end in zip([0, *ends], ends, strict=False):
            value = measure(z[start:end], target[start:end]) if end > start else math.nan
            mean.update(value, end - start)
        assert math.isclose(mean.compute(), measure(z, target).item(), rel_tol=1e-6, abs_tol=1e-12)


@law
@given(seeds, st.integers(1, 6), st.integers(1, 6), st.integers(2, 6), st.sampled_from([0, 0.1]))
def test_a_small_step_against_the_gradient_lowers_the_loss(seed, n_in, n_hidden, n_out, decay):
    "By about the rate times the squared length of the gradient, when there is one; with weight decay, of what is minimised."
    generator = seeded(seed)
    net = mlp(n_in, n_hidden, n_out, generator=generator).double()
    x = torch.rand(5, n_in, generator=generator, dtype=torch.float64)
    target = torch.randint(n_out, (5,), generator=generator)

    def minimised():
        squares = sum(p.square().sum() for p in net.parameters())
        return cross_entropy(net(x), target) + decay / 2 * squares

    before = minimised()
    slope = sum(g.square().sum() for g in torch.autograd.grad(before, [*net.parameters()])).item()
    cross_entropy(net(x), target).backward()
    lr = 1e-6
    SGD(net.parameters(), lr, weight_decay=decay).step()
    assert math.isclose((before - minimised()).item(), lr * slope, rel_tol=1e-2)


@law
@given(seeds, st.integers(1, 6), st.lists(st.integers(1, 6), max_size=2), st.integers(1, 6))
def test_gradients_by_hand_are_autograds(seed, n, widths, n_out):
    generator = seeded(seed)
    net = mlp(3, *widths, n_out, generator=generator).double()
    x = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    y = torch.randint(n_out, (n,), generator=generator)
    loss = cross_entropy(net(x), y)
    expected = torch.autograd.grad(loss, [*net.parameters()])
    torch.testing.assert_close(forward_backward(net, x, y), loss.detach())
    for p, grad in zip(net.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, grad, rtol=1e-10, atol=1e-14)


@law
@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_a_cycle_stays_below_its_peak(t, warm_up):
    assert 0 <= one_cycle(t, warm_up) <= 1
    assert one_cycle(warm_up, warm_up) == 1


@law
@given(st.integers(-3, 3), st.integers(4, 8), seeds)
def test_what_a_shift_leaves_comes_back(step, size, seed):
    images = torch.rand(2, size, size, generator=seeded(seed))
    back = shift(shift(images, (step,)), (-step,))
    seen = shift(shift(torch.ones_like(images), (step,)), (-step,))
    assert torch.equal(back, images * seen)
    assert seen.sum() == 2 * (size - abs(step)) ** 2
