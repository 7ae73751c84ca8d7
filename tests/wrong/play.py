"Plausible wrong answers to the exercises of stage 8, each with what its check has to say."

import torch
from torch.nn import functional as F

from mnist_walkthrough.learner import eval_mode

# centre_of_mass


def refusing_no_ink(point):
    def centre_of_mass(ink):
        if not ink.any():
            raise ValueError("no ink")
        return point(ink)

    return centre_of_mass


def weighted(ink, first=0.0):
    rows, columns = (torch.arange(n, dtype=ink.dtype) + first for n in ink.shape)
    return (ink.sum(1) @ rows / ink.sum()).item(), (ink.sum(0) @ columns / ink.sum()).item()


@refusing_no_ink
def column_first(ink):
    return weighted(ink)[::-1]


@refusing_no_ink
def unweighted(ink):
    return ink.nonzero().float().mean(0).tolist()


@refusing_no_ink
def counted_from_one(ink):
    return weighted(ink, 1.0)


@refusing_no_ink
def middle_of_pixels(ink):
    return weighted(ink, 0.5)


@refusing_no_ink
def most_ink(ink):
    return tuple(divmod(int(ink.argmax()), ink.shape[1]))


@refusing_no_ink
def box(ink):
    at = ink.nonzero().float()
    return ((at.min(0).values + at.max(0).values) / 2).tolist()


@refusing_no_ink
def middle_of_the_picture(ink):
    return (ink.shape[0] - 1) / 2, (ink.shape[1] - 1) / 2


@refusing_no_ink
def square_only(ink):
    i = torch.arange(len(ink), dtype=ink.dtype)
    return (ink.sum(1) @ i / ink.sum()).item(), (ink.sum(0) @ i / ink.sum()).item()


@refusing_no_ink
def float32_only(ink):
    i, j = (torch.arange(n, dtype=torch.float32) for n in ink.shape)
    return (ink.sum(1) @ i / ink.sum()).item(), (ink.sum(0) @ j / ink.sum()).item()


@refusing_no_ink
def rounded(ink):
    return tuple(round(i) for i in weighted(ink))


def nan_without_ink(ink):
    return weighted(ink)


# shift


def rolled(x, down, right):
    return torch.roll(x, (down, right), (-2, -1))


def padded(x, down, right):
    return F.pad(x, (right, -right, down, -down))


def other_way(x, down, right):
    return padded(x, -down, -right)


def exchanged(x, down, right):
    return padded(x, right, down)


def sliced(x, down, right):
    out = torch.zeros_like(x)
    out[..., down:, right:] = x[..., :-down, :-right]
    return out


def for_batches(x, down, right):
    out = torch.zeros_like(x)
    n, h, w = x.shape
    rows, columns = (
        torch.arange(max(0, by), min(size, size + by)) for by, size in ((down, h), (right, w))
    )
    out[:, rows[:, None], columns] = x[:, rows[:, None] - down, columns - right]
    return out


def edge_repeated(x, down, right):
    rows = (torch.arange(x.shape[-2]) - down).clamp(0, x.shape[-2] - 1)
    columns = (torch.arange(x.shape[-1]) - right).clamp(0, x.shape[-1] - 1)
    return x[..., rows[:, None], columns]


def in_place(x, down, right):
    x.copy_(padded(x, down, right))
    return x


def as_floats(x, down, right):
    return padded(x.float(), down, right)


# average_over_shifts


def averaged(
    mean=lambda logits: logits.softmax(2).mean(0), shift=padded, by=None, switch=eval_mode
):
    by = by or [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]

    def average_over_shifts(model, x):
        images = x.view(-1, 28, 28)
        with switch(model):
            return mean(torch.stack([model(shift(images, *b).flatten(1)) for b in by]))

    return average_over_shifts


def mean_image(model, x):
    by = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    copies = torch.stack([padded(x.view(-1, 28, 28), *b) for b in by])
    with eval_mode(model):
        return model(copies.mean(0).flatten(1)).softmax(1)


def in_eval_for_ever(model, x):
    model.eval()
    with torch.no_grad():
        return averaged(switch=lambda model: torch.no_grad())(model, x)


def with_gradients(model, x):
    was = {module: module.training for module in model.modules()}
    model.eval()
    p = averaged(switch=lambda model: torch.enable_grad())(model, x)
    for module, training in was.items():
        module.training = training
    return p.detach()


# lost_ink


def corner(faint):
    ink = torch.zeros(28, 28)
    ink[0, 0], ink[27, 27] = 1, faint
    return ink


WRONG = {
    "centre_of_mass": [
        (column_first, "the column comes first"),
        (unweighted, "more ink weighs more"),
        (counted_from_one, "pixels are counted from 0"),
        (middle_of_pixels, "not by its middle"),
        (most_ink, "the pixel with the most ink"),
        (box, "the middle of the box"),
        (middle_of_the_picture, "the middle of the picture, whatever is drawn"),
        (square_only, "raises RuntimeError"),
        (float32_only, "for a random picture in float64"),
        (rounded, "is 1; expected 1.33333"),
        (nan_without_ink, "no ValueError says so"),
    ],
    "shift": [
        (rolled, "comes in on the other"),
        (other_way, "it goes the other way"),
        (exchanged, "down and right are exchanged"),
        (sliced, "1 down and 0 to the right"),
        (for_batches, "for [4, 5] float32"),
        (edge_repeated, "the edge is repeated"),
        (in_place, "changes a tensor that it is given"),
        (as_floats, "the result is float32; expected a tensor float64"),
        (padded, "-1 down and 9 to the right"),
    ],
    "one_pixel": [
        ((60, -1, 0), "is read right, but with the probability"),
        ((6, 0, 1), "is not read right in the first place"),
        ((3, 0, 1), "is still read right after the shift"),
        ((775, -2, 0), "is not one pixel up"),
        ((775, -1, 1), "-1 down and 1 to the right is not one pixel"),
        ((5000, 0, 1), "there is no test digit 5000"),
        ((torch.tensor(775), -1, 0), "`int` makes one of a tensor"),
        (775, "expected (digit, down, right)"),
    ],
    "lost_ink": [
        (F.pad(torch.ones(40, 20), (0, 260, 0, 240)), "Fitted it is 20 x 10 pixels"),
        (corner(1.0), "the centre of mass at row 9.5, column 9.5"),
        (corner(0.05), "4.8 % of its ink is lost"),
        (torch.zeros(28, 28), "nothing is drawn"),
        (255 * corner(0.2), "its values go from 0 to 255"),
        (corner(0.2)[None], "expected floats [height, width]"),
        (corner(0.2).numpy(), "it is a ndarray"),
    ],
    "average_over_shifts": [
        (averaged(lambda logits: logits.mean(0).softmax(1)), "the softmax of the mean logits"),
        (averaged(lambda logits: logits.mean(0)), "these are the mean logits"),
        (averaged(lambda logits: logits.softmax(2).sum(0)), "divide it by 9"),
        (averaged(shift=rolled), "the copies wrap around"),
        (averaged(by=[(0, 0)]), "the unmoved image alone"),
        (
            averaged(by=[(0, 0), (0, 1), (0, -1), (1, 0), (-1, 0)]),
            "the diagonal shifts are missing",
        ),
        (
            averaged(by=[(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if i or j]),
            "the unmoved image is one of the nine",
        ),
        (
            averaged(switch=lambda model: torch.no_grad()),
            "one image and a net in training mode: the net is in training mode while it answers",
        ),
        (in_eval_for_ever, "afterwards the net is in eval mode, and was in training mode"),
        (mean_image, "this is the answer to the mean image"),
        (with_gradients, "with gradients on"),
    ],
}
