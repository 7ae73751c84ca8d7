"Imports torchvision, also where its operators do not fit a CPU build of torch: fastai needs none of them."

import torch

try:
    import torchvision
except RuntimeError:
    lib = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        lib.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision  # noqa: F401
