"Checks of the exercises of stage 3, net."

from typing import Any

import torch
from torch.nn import functional as F

from mnist_walkthrough.check.core import Without, Wrong, call, exercise, failures, same


@exercise(stage=3)
def linear(
    answer: Any,  # A module class: `answer(n_in, n_out)` maps [n, n_in] to [n, n_out]
) -> None:
    "Write `Linear` yourself, as `torch.nn.Linear`."
    instead = "use @ and +"
    for n_in, n_out, n in ((5, 3, 4), (784, 10, 1), (1, 1, 2), (7, 2, 0)):
        case = f"for a layer {n_in} -> {n_out} and a batch of {n}"
        layer = call(answer, n_in, n_out, case=case)
        if not isinstance(layer, torch.nn.Module):
            raise Wrong(f"{case}: {answer.__name__}({n_in}, {n_out}) is no nn.Module")
        shapes = sorted(list(p.shape) for p in layer.parameters())
        if shapes != sorted([[n_out, n_in], [n_out]]):
            raise Wrong(
                f"{case}: its parameters have shapes {shapes}; expected a weight [{n_out}, {n_in}] and a bias [{n_out}]"
            )
        weight, bias = sorted(layer.parameters(), key=torch.Tensor.dim, reverse=True)
        x = torch.randn(n, n_in, generator=torch.Generator().manual_seed(n))
        with Without(F.linear, torch.addmm, instead=instead):
            out = call(layer, x, case=case)
        same(out, x @ weight.T + bias, case)
        with failures(case, layer):
            out.sum().backward()
        same(bias.grad, torch.full((n_out,), float(n)), case, "the gradient of the bias")
