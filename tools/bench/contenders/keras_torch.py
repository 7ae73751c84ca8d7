"keras's `fit` on torch."

import os

os.environ["KERAS_BACKEND"] = "torch"

from contenders.keras import Contender  # noqa: F401
