"Plausible wrong answers to the exercises of stage 7, each with what its check has to say."

import copy
import math

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR

from mnist_walkthrough.learner import Callback, EarlyStop, eval_mode
from mnist_walkthrough.optimizer import SGD

# predict_all


def with_dropout_on(model, dl):
    with torch.no_grad():
        return torch.cat([model(xb) for xb, _ in dl]), torch.cat([yb for _, yb in dl])


def with_gradients(model, dl):
    was = {module: module.training for module in model.modules()}
    model.eval()
    logits = torch.cat([model(xb).detach() for xb, _ in dl])
    for module, training in was.items():
        module.training = training
    return logits, torch.cat([yb for _, yb in dl])


@torch.no_grad()
def left_in_training_mode(model, dl):
    model.eval()
    out = torch.cat([model(xb) for xb, _ in dl]), torch.cat([yb for _, yb in dl])
    model.train()
    return out


@torch.no_grad()
def mode_of_the_whole(model, dl):
    was = model.training
    model.eval()
    out = torch.cat([model(xb) for xb, _ in dl]), torch.cat([yb for _, yb in dl])
    model.train(was)
    return out


def stacked(model, dl):
    with eval_mode(model):
        return torch.stack([model(xb) for xb, _ in dl]), torch.cat([yb for _, yb in dl])


def logits_alone(model, dl):
    with eval_mode(model):
        return torch.cat([model(xb) for xb, _ in dl])


def in_one_go(model, dl):
    x, y = (torch.cat(t) for t in zip(*dl, strict=True))
    with eval_mode(model):
        return model(x), y


@torch.no_grad()
def not_after_an_error(model, dl):
    was = {module: module.training for module in model.modules()}
    model.eval()
    out = torch.cat([model(xb) for xb, _ in dl]), torch.cat([yb for _, yb in dl])
    for module, training in was.items():
        module.training = training
    return out


def probabilities(model, dl):
    with eval_mode(model):
        return torch.cat([model(xb).softmax(1) for xb, _ in dl]), torch.cat([yb for _, yb in dl])


def log_probabilities(model, dl):
    with eval_mode(model):
        return (
            torch.cat([model(xb).log_softmax(1) for xb, _ in dl]),
            torch.cat([yb for _, yb in dl]),
        )


def last_batch_first(model, dl):
    batches = list(dl)[::-1]
    with eval_mode(model):
        return torch.cat([model(xb) for xb, _ in batches]), torch.cat([yb for _, yb in batches])


def last_batch_alone(model, dl):
    with eval_mode(model):
        for xb, yb in dl:
            out = model(xb), yb
    return out


# large_step


def a_step_each(model, optimizer, loss_fn, batches):
    total = 0
    for xb, yb in batches:
        optimizer.zero_grad()
        loss = loss_fn(model(xb), yb)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(yb)
    return total / sum(len(yb) for _, yb in batches)


def accumulated(share, zero_first=True, zero_each=False, mean_of_means=False):
    def large_step(model, optimizer, loss_fn, batches):
        n, total = sum(len(yb) for _, yb in batches), 0.0
        if zero_first:
            optimizer.zero_grad()
        for xb, yb in batches:
            if zero_each:
                optimizer.zero_grad()
            loss = loss_fn(model(xb), yb)
            (loss * share(len(yb), n, len(batches))).backward()
            total += loss.item() * (1 / len(batches) if mean_of_means else len(yb) / n)
        optimizer.step()
        return total

    return large_step


def right_share(b, n, k):
    return b / n


def sum_of_losses(model, optimizer, loss_fn, batches):
    n = sum(len(yb) for _, yb in batches)
    optimizer.zero_grad()
    loss = sum(loss_fn(model(xb), yb) * (len(yb) / n) for xb, yb in batches)
    loss.backward()
    optimizer.step()
    return loss.item()


def one_large_batch(model, optimizer, loss_fn, batches):
    x, y = (torch.cat(t) for t in zip(*batches, strict=True))
    optimizer.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()
    optimizer.step()
    return loss.item()


def returns_nothing(*args):
    accumulated(right_share)(*args)


@torch.no_grad()
def mean_loss(model, loss_fn, batches):
    n = sum(len(yb) for _, yb in batches)
    return sum(loss_fn(model(xb), yb).item() * len(yb) / n for xb, yb in batches)


def loss_after_the_step(model, optimizer, loss_fn, batches):
    accumulated(right_share)(model, optimizer, loss_fn, batches)
    n = sum(len(yb) for _, yb in batches)
    return sum(loss_fn(model(xb), yb).item() * len(yb) / n for xb, yb in batches)


def loss_of_the_last(model, optimizer, loss_fn, batches):
    last = mean_loss(model, loss_fn, batches[-1:])
    accumulated(right_share)(model, optimizer, loss_fn, batches)
    return last


def sum_over_rows(model, optimizer, loss_fn, batches):
    n = sum(len(yb) for _, yb in batches)
    return n * accumulated(right_share)(model, optimizer, loss_fn, batches)


def sum_of_means(model, optimizer, loss_fn, batches):
    before = [mean_loss(model, loss_fn, [batch]) for batch in batches]
    accumulated(right_share)(model, optimizer, loss_fn, batches)
    return sum(before)


# stop_at_best


class OnlyStops(EarlyStop):
    pass


class KeepsTheBest(Callback):
    def __init__(self, patience):
        self.patience, self.best, self.waited = patience, math.inf, 0

    def keep(self, model):
        self.kept = copy.deepcopy(model.state_dict())

    def put_back(self, learner):
        learner.model.load_state_dict(self.kept)

    def after_epoch(self, learner):
        loss = learner.history[-1]["valid_loss"]
        if loss < self.best:
            self.best, self.waited = loss, 0
            self.keep(learner.model)
        else:
            self.waited += 1
            learner.stop = self.waited >= self.patience

    def after_fit(self, learner):
        self.put_back(learner)


class KeepsNoCopy(KeepsTheBest):
    def keep(self, model):
        self.kept = model.state_dict()


class OneEpochMore(KeepsTheBest):
    def after_epoch(self, learner):
        super().after_epoch(learner)
        learner.stop = self.waited > self.patience


class PutsBackWhenItStops(KeepsTheBest):
    def after_epoch(self, learner):
        super().after_epoch(learner)
        if learner.stop:
            self.put_back(learner)

    def after_fit(self, learner):
        pass


class CountsAllBadEpochs(KeepsTheBest):
    def after_epoch(self, learner):
        waited = self.waited
        super().after_epoch(learner)
        self.waited = max(self.waited, waited)


class OtherModel(KeepsTheBest):
    def keep(self, model):
        self.kept = copy.deepcopy(model)

    def put_back(self, learner):
        learner.model = self.kept


class ParametersAlone(KeepsTheBest):
    def keep(self, model):
        self.kept = [p.detach().clone() for p in model.parameters()]

    @torch.no_grad()
    def put_back(self, learner):
        for p, kept in zip(learner.model.parameters(), self.kept, strict=True):
            p.copy_(kept)


class EqualIsBetter(KeepsTheBest):
    def after_epoch(self, learner):
        if learner.history[-1]["valid_loss"] == self.best:
            self.best += 1e-6
        super().after_epoch(learner)


class BeginsWithTheFirst(KeepsTheBest):
    def after_epoch(self, learner):
        if len(learner.history) == 1:
            self.keep(learner.model)
            self.best = learner.history[0]["valid_loss"]
        else:
            super().after_epoch(learner)


class WatchesTraining(KeepsTheBest):
    def after_epoch(self, learner):
        row = learner.history[-1]
        row["valid_loss"], valid = row["train_loss"], row["valid_loss"]
        super().after_epoch(learner)
        row["valid_loss"] = valid


class NoCallback:
    def __init__(self, patience):
        pass


# cosine_rate


class Cosine(Callback):
    def before_fit(self, learner):
        self.first, self.k = learner.optimizer.lr, 0
        self.n = len(learner.train_dl) * learner.n_epochs

    def rate(self, learner):
        return self.first * (1 + math.cos(math.pi * self.k / self.n)) / 2

    def before_step(self, learner):
        learner.optimizer.lr = self.rate(learner)
        self.k += 1

    def after_fit(self, learner):
        learner.optimizer.lr = self.first


class OncePerEpoch(Cosine):
    def before_fit(self, learner):
        super().before_fit(learner)
        self.n = learner.n_epochs

    def before_step(self, learner):
        learner.optimizer.lr = self.rate(learner)

    def after_epoch(self, learner):
        self.k += 1


class CountsFirst(Cosine):
    def before_step(self, learner):
        self.k += 1
        learner.optimizer.lr = self.rate(learner)


class FromTheLast(Cosine):
    def rate(self, learner):
        return learner.optimizer.lr * (1 + math.cos(math.pi * self.k / self.n)) / 2


class EndsAtZero(Cosine):
    def rate(self, learner):
        return self.first * (1 + math.cos(math.pi * self.k / max(1, self.n - 1))) / 2


class NotHalved(Cosine):
    def rate(self, learner):
        return 2 * super().rate(learner)


class BareCosine(Cosine):
    def rate(self, learner):
        return self.first * math.cos(math.pi * self.k / self.n)


class NotPutBack(Cosine):
    def after_fit(self, learner):
        pass


class PutBackAfterTheLastEpoch(Cosine):
    def after_epoch(self, learner):
        if learner.n_epochs == 0:
            learner.optimizer.lr = self.first

    def after_fit(self, learner):
        pass


class CountsOnAndOn(Cosine):
    def __init__(self):
        self.k = 0

    def before_fit(self, learner):
        k = self.k
        super().before_fit(learner)
        self.k = k


class OneEpochLong(Cosine):
    def before_fit(self, learner):
        super().before_fit(learner)
        self.n = len(learner.train_dl)


class AsLongAsEpochs(Cosine):
    def before_fit(self, learner):
        super().before_fit(learner)
        self.n = learner.n_epochs


class Degrees(Cosine):
    def rate(self, learner):
        return self.first * (1 + math.cos(180 * self.k / self.n)) / 2


class StraightLine(Cosine):
    def rate(self, learner):
        return self.first * (1 - self.k / self.n)


class TorchsOwn(Cosine):
    def before_fit(self, learner):
        super().before_fit(learner)
        self.torchs = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=self.first)
        self.scheduler = CosineAnnealingLR(self.torchs, self.n)

    def rate(self, learner):
        (rate,) = self.scheduler.get_last_lr()
        self.torchs.step()
        self.scheduler.step()
        return rate


# lr_find


def geometric(low, high, n):
    return [low * (high / low) ** (k / (n - 1)) for k in range(n)]


def finder(
    between=geometric,
    on_copy=True,
    forget=True,
    stop=True,
    loss_after=False,
    restart=True,
    keep=lambda learner: lambda: None,
    copied=copy.deepcopy,
    train=True,
):
    def lr_find(learner, low, high, n_steps):
        model, optimizer = learner.model, learner.optimizer
        if on_copy:
            model, optimizer = copied((model, optimizer))
        put_back = keep(learner)
        if train:
            model.train()
        optimizer.zero_grad()
        rates, losses, batches = [], [], iter(learner.train_dl)
        for rate in between(low, high, n_steps):
            try:
                xb, yb = next(batches)
            except StopIteration:
                if not restart:
                    break
                batches = iter(learner.train_dl)
                xb, yb = next(batches)
            loss = learner.loss_fn(model(xb), yb)
            optimizer.lr = rate
            loss.backward()
            optimizer.step()
            if forget:
                optimizer.zero_grad()
            if loss_after:
                loss = learner.loss_fn(model(xb), yb)
            rates.append(rate)
            losses.append(loss.item())
            if stop and not losses[-1] <= 4 * min(losses):
                break
        put_back()
        return rates, losses

    return lr_find


def linear(low, high, n):
    return [low + (high - low) * k / (n - 1) for k in range(n)]


def short_of_high(low, high, n):
    return [low * (high / low) ** (k / n) for k in range(n)]


def on_a_copy_of_all(learner, *args):
    return finder()(copy.deepcopy(learner), *args)


def all_but_momentum(learner):
    weights, lr = copy.deepcopy(learner.model.state_dict()), learner.optimizer.lr
    modes = {module: module.training for module in learner.model.modules()}

    def put_back():
        learner.model.load_state_dict(weights)
        learner.optimizer.lr = lr
        for module, mode in modes.items():
            module.training = mode

    return put_back


def parameters_alone(learner):
    kept = [p.detach().clone() for p in learner.model.parameters()]

    @torch.no_grad()
    def put_back():
        for p, k in zip(learner.model.parameters(), kept, strict=True):
            p.copy_(k)

    return put_back


def weights_alone(learner):
    weights = copy.deepcopy(learner.model.state_dict())
    return lambda: learner.model.load_state_dict(weights)


def no_copy_of_the_weights(learner):
    weights = learner.model.state_dict()
    return lambda: learner.model.load_state_dict(weights)


def velocity_with_copied_keys(learner):
    put_back, velocity = all_but_momentum(learner), copy.deepcopy(learner.optimizer.velocity)

    def put_all_back():
        put_back()
        learner.optimizer.velocity = velocity

    return put_all_back


def one_by_one(pair):
    return [copy.deepcopy(each) for each in pair]


def with_a_new_optimizer(pair):
    model, optimizer = copy.deepcopy(pair)
    return model, SGD(model.parameters(), lr=0.1, momentum=optimizer.momentum)


def with_a_plain_optimizer(pair):
    model = copy.deepcopy(pair[0])
    return model, SGD(model.parameters(), lr=0.1)


def all_but_the_mode(learner):
    put_back, velocity = all_but_momentum(learner), copy.copy(learner.optimizer.velocity)
    velocity = {p: v.clone() for p, v in velocity.items()}

    def put_all_back():
        put_back()
        learner.optimizer.velocity = velocity
        learner.model.train()

    return put_all_back


def stops_at_a_worse_loss_only(learner, low, high, n_steps):
    "nan > 4 * smallest is false."
    rates, losses = finder(stop=False)(learner, low, high, n_steps)
    for k, loss in enumerate(losses):
        if loss > 4 * min(losses[: k + 1]):
            return rates[: k + 1], losses[: k + 1]
    return rates, losses


def stops_at_four_times_the_first(learner, low, high, n_steps):
    rates, losses = finder(stop=False)(learner, low, high, n_steps)
    for k, loss in enumerate(losses):
        if not loss <= 4 * losses[0]:
            return rates[: k + 1], losses[: k + 1]
    return rates, losses


def without_the_last(learner, low, high, n_steps):
    rates, losses = finder()(learner, low, high, n_steps)
    return (rates[:-1], losses[:-1]) if len(losses) < n_steps else (rates, losses)


WRONG = {
    "three_rates": [
        (0.1, "it is a float; expected three rates"),
        ((0.1, 0.0), "the number of rates is 2"),
        ((0.001, 0.0, 2.0), "with the rate 0.001 the training loss is 2.32"),
        ((0.1, 0.001, 2.0), "with the rate 0.001 the training loss is 2.321339"),
        ((0.1, 0.0, 1.0), "the training loss is to stand below"),
        ((0.1, 0.0, 1e30), "numbers that are not finite"),
        ((0.1, 0.0, -1), "lr must be 0 or more"),
        (["0.1", 0.0, 2.0], "rate 0 is '0.1'; expected a number"),
        ((True, False, 2), "rate 0 is True; expected a number"),
    ],
    "predict_all": [
        (with_dropout_on, "while it answers, dropout is in training mode"),
        (with_gradients, "with gradients on"),
        (left_in_training_mode, "afterwards the net is in training mode, and was in eval mode"),
        (mode_of_the_whole, "afterwards norm is in training mode, and was in eval mode"),
        (stacked, "the tensor of logits has shape [2, 4, 3]"),
        (logits_alone, "expected (logits, target)"),
        (in_one_go, "8 rows at once"),
        (not_after_an_error, "where the net raises: afterwards the net is in eval mode"),
        (probabilities, "these are probabilities; give the logits"),
        (log_probabilities, "these are logarithms of probabilities"),
        (last_batch_first, "the batches stand in reverse order"),
        (last_batch_alone, "these are the last batch's alone"),
    ],
    "large_step": [
        (a_step_each, "makes 3 steps"),
        (accumulated(lambda b, n, k: 1), "the gradients of 3 means are added up"),
        (accumulated(lambda b, n, k: 1 / k), "for batches of 4, 4 and 2"),
        (accumulated(lambda b, n, k: b), "the gradient is the sum over rows, 12 times"),
        (accumulated(right_share, zero_first=False), "what was in `.grad` before is added"),
        (accumulated(lambda b, n, k: 1, zero_each=True), "the last batch's gradient alone"),
        (accumulated(right_share, mean_of_means=True), "the mean of the batch means"),
        (sum_of_losses, "3 batches wait for `backward`"),
        (one_large_batch, "12 rows at once"),
        (returns_nothing, "the mean loss is None"),
        (loss_after_the_step, "this is the loss after the step"),
        (loss_of_the_last, "this is the last batch's loss"),
        (sum_of_means, "this is the sum of the batch means"),
        (sum_over_rows, "this is the sum over all rows"),
    ],
    "stop_at_best": [
        (OnlyStops, "nothing is put back"),
        (KeepsNoCopy, "keep copies of them"),
        (OneEpochMore, "the training ends after epoch 6; expected after 5"),
        (PutsBackWhenItStops, "[3.0, 1.0, 2.0, 2.5]"),
        (CountsAllBadEpochs, "the training ends after epoch 5; expected after 8"),
        (OtherModel, "has another model or parameter now"),
        (ParametersAlone, "the buffers those of 5"),
        (EqualIsBetter, "[1.0, 1.0, 1.0, 1.0]"),
        (BeginsWithTheFirst, "[nan, 2.0, 1.0"),
        (WatchesTraining, "the training loss, which lags behind"),
        (NoCallback, "has not all hooks"),
    ],
    "cosine_rate": [
        (Callback, "it never changes"),
        (OncePerEpoch, "once an epoch, not at every step"),
        (CountsFirst, "it begins with the rate of the second step"),
        (FromTheLast, "computed from the last one"),
        (EndsAtZero, "has the rate 0"),
        (NotHalved, "twice as large"),
        (BareCosine, "the cosine falls from 1 to -1"),
        (NotPutBack, "after `fit` the rate is"),
        (PutBackAfterTheLastEpoch, "that was interrupted the rate"),
        (CountsOnAndOn, "in a second `fit`"),
        (OneEpochLong, "the batches of all 5 epochs, not of one"),
        (AsLongAsEpochs, "the steps of all 5 epochs, not the epochs"),
        (Degrees, "takes radians"),
        (StraightLine, "not along a cosine"),
        (TorchsOwn, "calls torch's CosineAnnealingLR"),
    ],
    "lr_find": [
        (on_a_copy_of_all, "holds the graph of its last loss"),
        (finder(linear), "they rise by the same difference"),
        (finder(short_of_high), "the last of 7 is not 0.1"),
        (finder(loss_after=True), "this is the loss after the step"),
        (finder(forget=False), "old gradients are not forgotten"),
        (finder(restart=False), "begin it anew"),
        (finder(stop=False), "from 0.01 to 1e+06"),
        (stops_at_a_worse_loss_only, "the loss is nan there"),
        (stops_at_four_times_the_first, "for 8 rates from 0.3 to 100"),
        (finder(copied=one_by_one), "does the optimizer hold the parameters of this very net"),
        (finder(train=False), "the net is not in training mode"),
        (finder(copied=with_a_new_optimizer), "the momentum begins at 0"),
        (finder(copied=with_a_plain_optimizer), "without the optimizer's momentum"),
        (
            finder(on_copy=False, keep=velocity_with_copied_keys),
            "belongs to other tensors than its parameters",
        ),
        (without_the_last, "and the last that it records"),
        (finder(on_copy=False), "afterwards 0.0.weight of the net"),
        (finder(on_copy=False, keep=no_copy_of_the_weights), "gives the tensors themselves"),
        (finder(on_copy=False, keep=parameters_alone), "a buffer that each forward pass"),
        (finder(on_copy=False, keep=weights_alone), "afterwards the rate is 0.1; expected 0.05"),
        (finder(on_copy=False, keep=all_but_momentum), "afterwards a velocity of the optimizer"),
        (finder(on_copy=False, keep=all_but_the_mode), "afterwards the net is in training mode"),
    ],
}
