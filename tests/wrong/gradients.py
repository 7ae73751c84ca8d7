"Plausible wrong answers to the exercises of stage 9, each with what its check has to say."

import sys

import torch


def diagonal(grad, p):
    return grad * p * (1 - p)


def over_all_rows(grad, p):
    return p * (grad - (grad * p).sum())


def no_keepdim(grad, p):
    return p * (grad - (grad * p).sum(1))


def not_scaled(grad, p):
    return grad - (grad * p).sum(1, keepdim=True)


def writes_once(grad, index, n_rows):
    out = torch.zeros(n_rows, *grad.shape[1:], dtype=grad.dtype)
    out[index] += grad
    return out


def in_float32(grad, index, n_rows):
    return torch.zeros(n_rows, *grad.shape[1:]).index_add(0, index, grad.float())


def as_long_as_needed(grad, index, n_rows):
    out = torch.zeros(int(index.max()) + 1, *grad.shape[1:], dtype=grad.dtype)
    return out.index_add(0, index, grad)


def before_inputs(inputs):
    return list(reversed(by_recursion(inputs)))


def by_recursion(inputs):
    found = {}

    def visit(node):
        if node not in found:
            for each in inputs[node]:
                visit(each)
            found[node] = None

    for node in inputs:
        visit(node)
    return list(found)


def every_way(inputs):
    def visit(node):
        return [n for each in inputs[node] for n in visit(each)] + [node]

    return [n for node in inputs for n in visit(node)]


def breadth_first(inputs):
    found = [node for node in inputs if not inputs[node]]
    for node in found:
        found += [n for n in inputs if node in inputs[n] and n not in found]
    return found


def one_user_for_all(inputs):
    waits = {node: len(of) for node, of in inputs.items()}
    ready = [node for node in inputs if not waits[node]]
    for node in ready:
        for user in [n for n in inputs if node in inputs[n]]:
            waits[user] -= 1
            if not waits[user]:
                ready.append(user)
    return ready


def higher_limit(inputs):
    sys.setrecursionlimit(100_000)
    return by_recursion(inputs)


def two_dimensions(grad, index, n_rows):
    return torch.zeros(n_rows, grad.shape[1], dtype=grad.dtype).index_add(0, index, grad)


def plain_mean(grad, p):
    return p * (grad - grad.mean(1, keepdim=True))


def engine(grad, p):
    return torch.ops.aten._softmax_backward_data(grad, p, 1, p.dtype)


WRONG = {
    "kink": [
        ((0.0, 1e-4), "x is 0, where ReLU has no derivative"),
        ((0.5, 1e-3), "for x = 0.5 and h = 0.001 no kink lies between"),
        ((0.1, 1.0), "h is 1; it has to be"),
        ((-9e-4, 1e-3), "the difference quotient is 0.05 and the derivative 0"),
        (1e-6, "it takes a pair of numbers"),
    ],
    "sigmoid_backward": [
        (lambda grad, out: out * (1 - out), "multiply it by grad"),
        (lambda grad, out: grad * (1 - out**2), "the slope of tanh"),
        (lambda grad, out: grad * out.sigmoid() * (1 - out.sigmoid()), "the sigmoid already"),
        (
            lambda grad, out: (grad * out * (1 - out)).sum(),
            "the result has shape []; expected a tensor float64 [5]",
        ),
        (lambda grad, out: grad.mul_(out).mul_(1 - out), "changes a tensor that it is given"),
        (lambda out: out * (1 - out), "raises TypeError"),
    ],
    "softmax_backward": [
        (diagonal, "it moves all of its row"),
        (over_all_rows, "each row is a softmax of its own"),
        (no_keepdim, "keep its axis"),
        (plain_mean, "weigh it with p"),
        (engine, "it calls torch's _softmax_backward_data"),
        (not_scaled, "for 1 row of 3 probabilities: the result at [0, 0] is"),
    ],
    "rows_backward": [
        (writes_once, "it has to have their sum"),
        (in_float32, "the result is float32; expected a tensor float64 [4, 3]"),
        (
            two_dimensions,
            "for index [4, 4, 0] of 5 rows and grad float64 [3]: two_dimensions raises",
        ),
        (as_long_as_needed, "the result has shape [3, 3]; expected a tensor float64 [4, 3]"),
    ],
    "order": [
        (list, "'e' stands before its input 'a'"),
        (before_inputs, "stands before its input"),
        (
            by_recursion,
            "for a chain of 10,000 nodes, the last one first: by_recursion raises Recur",
        ),
        (every_way, "'a' stands twice"),
        (lambda inputs: [n for of in inputs.values() for n in of][:1], "'a' is missing"),
        (lambda inputs: [str(n).upper() for n in inputs], "'A' in the list is none of the nodes"),
        (one_user_for_all, "'b' is missing"),
        (higher_limit, "it raises Python's limit"),
        (breadth_first, "stands before its input"),
    ],
}
