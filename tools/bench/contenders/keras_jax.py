"keras's `fit` on JAX."

import os

os.environ["KERAS_BACKEND"] = "jax"

from contenders.keras import Contender  # noqa: F401
