"Wrong answers to the exercises of stage 14, and what their checks say."

import random

import torch

# my_rows


def shares_first(order, batch_size, rank, world_size):
    return list(order[rank::world_size].split(batch_size))


def shares_first_small(order, batch_size, rank, world_size):
    return list(order[rank::world_size].split(-(-batch_size // world_size)))


def blocks_of_the_data(order, batch_size, rank, world_size):
    own = order.tensor_split(world_size)[rank]
    return list(own.split(max(1, batch_size // world_size)))


def rest_left_out(order, batch_size, rank, world_size):
    shares = []
    for batch in order.split(batch_size):
        each = len(batch) // world_size
        shares.append(batch[rank * each : (rank + 1) * each])
    return shares


def filled_up(order, batch_size, rank, world_size):
    missing = -len(order) % batch_size
    return [b[rank::world_size] for b in torch.cat([order, order[:missing]]).split(batch_size)]


def by_chunk(order, batch_size, rank, world_size):
    found = []
    for batch in order.split(batch_size):
        parts = batch.chunk(world_size)
        if rank < len(parts):
            found.append(parts[rank])
    return found


def whole_batches_in_turn(order, batch_size, rank, world_size):
    return list(order.split(batch_size))[rank::world_size]


def everything(order, batch_size, rank, world_size):
    return list(order.split(batch_size))


def no_last_batch(order, batch_size, rank, world_size):
    return [b[rank::world_size] for b in order.split(batch_size) if len(b) == batch_size]


def own_order(order, batch_size, rank, world_size):
    own = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(rank))]
    return [batch[rank::world_size] for batch in own.split(batch_size)]


def first_gets_the_rest(order, batch_size, rank, world_size):
    found = []
    for batch in order.split(batch_size):
        each = len(batch) // world_size
        at = len(batch) - (world_size - 1) * each
        found.append(batch[:at] if rank == 0 else batch[at + (rank - 1) * each : at + rank * each])
    return found


def as_lists(order, batch_size, rank, world_size):
    return [batch[rank::world_size].tolist() for batch in order.split(batch_size)]


# combine_gradients


def weighted(weights, skip=True):
    def combine_gradients(gradients, counts):
        pairs = [(g, c) for g, c in zip(gradients, counts, strict=True) if c or not skip]
        found = []
        for i in range(len(gradients[0])):
            found.append(sum(g[i] * weights(c, counts) for g, c in pairs))
        return found

    return combine_gradients


def in_place(gradients, counts):
    for gradient, count in zip(gradients, counts, strict=True):
        for g in gradient:
            g.mul_(count / sum(counts))
    return [sum(gs) for gs in zip(*gradients, strict=True)]


def one_tensor(gradients, counts):
    pairs = zip(gradients, counts, strict=True)
    return sum(torch.cat([t.flatten() for t in g]) * c / sum(counts) for g, c in pairs if c)


def zeroed(gradients, counts):
    found = weighted(lambda c, n: c / sum(n), skip=False)(gradients, counts)
    return [g.nan_to_num() for g in found]


# shuffled


def buffered(fill=True, draw=None, rest="random", global_draws=False, late=False):
    def shuffled(items, size, generator):
        def place(n):
            return int(torch.randint(n, (), generator=None if global_draws else generator))

        held = []
        for item in items:
            held.append(item)
            if len(held) > size or (not fill and len(held) > size // 2):
                at = draw(held, place) if draw else place(len(held) - 1)
                out = held[at]
                held[at] = held[-1]
                held.pop()
                yield out
        if rest == "none":
            return
        if rest == "random":
            held = [held[i] for i in torch.randperm(len(held), generator=generator).tolist()]
        if rest == "either way" and place(2):
            held.reverse()
        yield from held

    return shuffled


def everything_first(items, size, generator):
    items = list(items)
    for i in torch.randperm(len(items), generator=generator).tolist():
        yield items[i]


def returns_a_list(items, size, generator):
    return list(buffered()(items, size, generator))


def python_random(items, size, generator):
    return buffered(draw=lambda held, place: random.randrange(len(held) - 1))(
        items, size, generator
    )


def in_blocks(items, size, generator):
    held = []
    for item in items:
        held.append(item)
        if len(held) == size:
            for i in torch.randperm(size, generator=generator).tolist():
                yield held[i]
            held = []
    for i in torch.randperm(len(held), generator=generator).tolist():
        yield held[i]


def always_the_first(held, place):
    return 0


def not_the_last_place(held, place):
    return place(max(1, (len(held) - 1) // 2))


# resumable


class Base:
    def __init__(self, x, y, batch_size, generator):
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator
        self.begun, self.given, self.skip = generator.get_state(), 0, 0

    def order(self):
        return torch.randperm(len(self.x), generator=self.generator)

    def begin(self):
        self.begun, self.given, self.skip = self.generator.get_state(), self.skip, 0

    def __iter__(self):
        self.begin()
        for rows in self.order().split(self.batch_size)[self.given :]:
            self.given += 1
            yield self.x[rows], self.y[rows]
        self.end()

    def end(self):
        self.begun, self.given = self.generator.get_state(), 0

    def state(self):
        return self.begun, self.given

    def resume(self, state):
        begun, self.skip = state
        self.generator.set_state(begun)
        self.begun, self.given = begun, self.skip


class CountsAfterwards(Base):
    def __iter__(self):
        self.begin()
        for rows in self.order().split(self.batch_size)[self.given :]:
            yield self.x[rows], self.y[rows]
            self.given += 1
        self.end()


class StateOfNow(Base):
    def state(self):
        return self.generator.get_state(), self.given


class CountAlone(Base):
    def state(self):
        return self.given

    def resume(self, state):
        self.skip = state


class OrderAlone(Base):
    def __iter__(self):
        order = self.order() if self.skip == 0 else self.kept
        self.kept = order
        self.begin()
        for rows in order.split(self.batch_size)[self.given :]:
            self.given += 1
            yield self.x[rows], self.y[rows]

    def state(self):
        return self.kept, self.given

    def resume(self, state):
        self.kept, self.skip = state


class NeverEnds(Base):
    def end(self):
        pass


class SkipsForever(Base):
    def begin(self):
        self.begun, self.given = self.generator.get_state(), self.skip


class FromTheBeginning(Base):
    def begin(self):
        self.begun, self.given, self.skip = self.generator.get_state(), 0, 0


class ForgetsWhenAsked(Base):
    def resume(self, state):
        begun, self.skip = state
        self.generator.set_state(begun)
        self.given = 0


class RowsOnly(Base):
    def __iter__(self):
        for xb, yb in super().__iter__():
            yield from zip(xb[:, None].unbind(), yb[:, None].unbind(), strict=True)


WRONG = {
    "small_shards": [
        ((50, 200), "The buffer holds about 4 shards"),
        ((1000, 200), "The buffer holds one shard or less"),
        ((5, 20), "with shards of 5 and a buffer of 20"),
        ((5, 1000), "a buffer of 1000 rows; expected 1 to 200"),
        ((1, 200), "shards of 1 rows; expected 5 or more"),
        ((5.0, 200), "shard_size is 5.0; expected a whole number"),
        (200, "expected a pair"),
    ],
    "my_rows": [
        (shares_first, "for 12 rows, batches of 4 and 2 processes: each process has 2 batches"),
        (shares_first_small, "batches of 5 and 3 processes: each process has 2 batches"),
        (blocks_of_the_data, "expected [2, 3, 4, 6], those of"),
        (rest_left_out, "rows are used by no process"),
        (filled_up, "is used twice"),
        (by_chunk, "one waits forever"),
        (whole_batches_in_turn, "the processes have [2, 1] batches"),
        (everything, "row 0 is used twice"),
        (no_last_batch, "2 rows are used by no process"),
        (own_order, "each row belongs to one process, once"),
        (first_gets_the_rest, "rows; expected equal ones"),
        (as_lists, "a share of process 0 is a list"),
    ],
    "combine_gradients": [
        (weighted(lambda c, n: 1 / len(n)), "for processes with 5, 3 rows"),
        (weighted(lambda c, n: 1), "this is the sum of the means"),
        (weighted(lambda c, n: c), "divide by their number"),
        (weighted(lambda c, n: c / len(n)), "divided by the number of processes"),
        (weighted(lambda c, n: c / sum(n), skip=False), "stays NaN times 0"),
        (in_place, "changes a tensor that it is given"),
        (one_tensor, "expected a list of 2 tensors"),
    ],
    "shuffled": [
        (buffered(rest="none"), "those that are held at the end are missing"),
        (everything_first, "have been taken when number 1 comes out"),
        (returns_a_list, "expected a generator: use `yield`"),
        (python_random, "twice with the same generator, twice another order"),
        (buffered(global_draws=True), "draws from torch's global generator"),
        (in_blocks, "when only 5 items have been taken"),
        (buffered(draw=always_the_first), "the places are drawn [400, 0, 0"),
        (buffered(draw=not_the_last_place), "each about equally often"),
        (buffered(rest="in order"), "generators with different seeds give the same order"),
        (buffered(rest="either way"), "of those that are held at the end"),
        (buffered(fill=False), "fill the buffer first"),
    ],
    "resumable": [
        (CountsAfterwards, "One batch is given again"),
        (StateOfNow, "keep the generator's state from before the permutation"),
        (CountAlone, "resumed: the rows are"),
        (OrderAlone, "in the epoch after that"),
        (NeverEnds, "0 of them given in epoch 2: resumed: the rows are []"),
        (SkipsForever, "in the epoch after that: the rows are"),
        (FromTheBeginning, "skip what had been given"),
        (ForgetsWhenAsked, "resumed twice, before a batch came"),
        (RowsOnly, "before that"),
    ],
}
