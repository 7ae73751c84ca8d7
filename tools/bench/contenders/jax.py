"An epoch as one compiled `lax.scan`; the last, shorter batch is a step after it."

import jax
import jax.numpy as jnp
from jax import lax


def loss(params, xb, yb):
    w1, b1, w2, b2 = params
    logits = jax.nn.relu(xb @ w1.T + b1) @ w2.T + b2
    log_p = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_p, yb[:, None], 1).mean()


class Contender:
    def __init__(self, work):
        x, y, n = jnp.asarray(work.x), jnp.asarray(work.y, jnp.int32), len(work.y)
        batch_size, self.key = work.batch_size, jax.random.key(0)
        self.params = list(map(jnp.asarray, work.weights))

        def step(params, rows):
            grads = jax.grad(loss)(params, x[rows], y[rows])
            return [p - work.lr * g for p, g in zip(params, grads, strict=True)], None

        def epoch(params, key):
            order = jax.random.permutation(key, n)
            whole = n // batch_size * batch_size
            params, _ = lax.scan(step, params, order[:whole].reshape(-1, batch_size))
            return step(params, order[whole:])[0] if whole < n else params

        self.compiled = jax.jit(epoch, donate_argnums=0)

    def epoch(self):
        self.key, key = jax.random.split(self.key)
        self.params = jax.block_until_ready(self.compiled(self.params, key))

    def weights(self):
        return self.params
