"fastai's `Learner`, each image read from its PNG file when it is needed."

from contenders import fastai
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import get_image_files, parent_label
from fastai.vision.core import PILImageBW
from fastai.vision.data import ImageBlock
from torch import nn


class Contender(fastai.Contender):
    def __init__(self, work):
        super().__init__(work)
        self.learner.model = nn.Sequential(nn.Flatten(), self.net)

    def batches(self, work):
        block = DataBlock(
            (ImageBlock(PILImageBW), CategoryBlock),
            get_items=get_image_files,
            get_y=parent_label,
            splitter=lambda files: (range(len(files)), [0]),
        )
        dls = block.dataloaders(work.pngs, bs=work.batch_size, num_workers=0)
        return dls.train.new(drop_last=False)
