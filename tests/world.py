"What belongs to the whole process, and so to everybody in it: `world()` before and after a call tells what it changed."

import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import PIL.ImageFile
import requests  # noqa: F401  what is first imported by a call would look as if the call changed it
import torch
import torch._dynamo
import torch.distributed as dist


def loggers():
    "Level, handlers and filters of each logger that somebody has set up."
    named = {
        name: logger
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
    }
    named.pop("torch.__trace", None)  # torch's own, set up by its first compilation
    found = {
        name: (logger.level, list(logger.handlers), list(logger.filters), logger.disabled)
        for name, logger in ({"": logging.root} | named).items()
    }
    return {name: kept for name, kept in found.items() if kept != (0, [], [], False)}


def world():
    "The state of the process, by what each part is called."
    return {
        "torch's generator": hash(torch.get_rng_state().numpy().tobytes()),
        "seeds of other devices": list(torch.cuda._lazy_seed_tracker.get_calls()),
        "numpy's generator": hash(str(np.random.get_state(legacy=False))),  # noqa: NPY002
        "Python's generator": hash(random.getstate()),
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "grad mode": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "anomaly mode": torch.is_anomaly_enabled(),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")),
        "deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
            torch.utils.deterministic.fill_uninitialized_memory,
        ),
        "precision of products": torch.get_float32_matmul_precision(),
        "back ends": (
            torch.backends.mkldnn.enabled,
            torch.backends.cudnn.enabled,
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cuda.matmul.allow_tf32,
        ),
        "denormal numbers": (torch.tensor([1e-40]) * 1).item() != 0,
        "function modes": torch.overrides._get_current_function_mode_stack(),
        "process group": dist.is_initialized(),
        "how torch prints": vars(torch._tensor_str.PRINT_OPTS).copy(),
        "how numpy prints": repr(np.get_printoptions()),
        "numpy's errors": np.geterr(),
        "matplotlib's settings": dict(mpl.rcParams),
        "open figures": plt.get_fignums(),
        "limits of Pillow": (
            PIL.Image.MAX_IMAGE_PIXELS,
            PIL.ImageFile.LOAD_TRUNCATED_IMAGES,
        ),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "logging": (loggers(), logging.root.manager.disable, logging.raiseExceptions),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": os.umask(mask := os.umask(0)) or mask,
        "sys.path": list(sys.path),
        "sys.argv": list(sys.argv),
        "hooks": (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "limits of Python": (sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold()),
        "collector": (gc.isenabled(), gc.get_freeze_count()),
        "signals": {s: signal.getsignal(s) for s in signal.valid_signals() if signal.getsignal(s)},
        "locale": locale.setlocale(locale.LC_ALL),
        "timeout of sockets": socket.getdefaulttimeout(),
        "running threads": {t.name for t in threading.enumerate()}
        - {"tqdm_monitor"},  # one for all
    }


def scramble(seed):
    "Puts the global generators into a state of somebody else's making."
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)


def changes(before, after):
    "The parts that differ: {name: (before, after)}."
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
