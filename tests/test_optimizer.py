import pytest
import torch

from mnist_walkthrough import SGD


def trajectory(optimizer_class, **options):
    "Twenty steps down a bumpy surface; one parameter gets no gradient in every third step."
    a = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    b = torch.tensor([[3.0]], requires_grad=True)
    optimizer = optimizer_class([a, b], **options)
    for step in range(20):
        (a.sin().sum() + (0 if step % 3 == 0 else (b * a[0]).sum())).backward()
        optimizer.step()
        optimizer.zero_grad()
        yield torch.cat([a.detach(), b.detach().flatten()])


@pytest.mark.parametrize("lr", [0.0, 0.1, 1.5])
@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01, 1.0])
def test_equals_torchs_bit_for_bit(lr, momentum, weight_decay):
    options = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    for ours, library in zip(
        trajectory(SGD, **options), trajectory(torch.optim.SGD, **options), strict=True
    ):
        assert torch.equal(ours, library)


def test_a_generator_of_parameters_is_kept():
    w = torch.ones(2, requires_grad=True)
    optimizer = SGD((p for p in [w]), lr=1.0)
    for _ in range(3):
        w.sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    assert w.tolist() == [-2, -2]


def test_zero_grad_forgets():
    w = torch.ones(2, requires_grad=True)
    w.sum().backward()
    SGD([w], lr=1.0).zero_grad()
    assert w.grad is None


def test_a_step_leaves_the_gradient_as_it_was():
    w = torch.ones(2, requires_grad=True)
    optimizer = SGD([w], lr=0.1, momentum=0.9, weight_decay=0.1)
    for _ in range(2):
        w.grad = torch.tensor([1.0, 2.0])
        optimizer.step()
        assert w.grad.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"params": [], "lr": 0.1}, "no parameters"),
        ({"lr": -0.1}, "lr must be 0 or more, got -0.1"),
        ({"lr": float("nan")}, "lr must be 0 or more"),
        ({"lr": 0.1, "momentum": -1}, "momentum must be 0 or more"),
        ({"lr": 0.1, "weight_decay": -1}, "weight_decay must be 0 or more"),
    ],
)
def test_bad_input_is_refused_with_a_reason(options, message):
    with pytest.raises(ValueError, match=message):
        SGD(**{"params": [torch.ones(1, requires_grad=True)], **options})
