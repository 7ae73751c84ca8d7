"Lightning's `Trainer`, without logger, bar and checkpoints, over torch's `DataLoader`."

import lightning
import torch
from contenders.torch_nn import torch_net
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


class Module(lightning.LightningModule):
    def __init__(self, net, lr):
        super().__init__()
        self.net, self.lr = net, lr

    def training_step(self, batch, _):
        xb, yb = batch
        return cross_entropy(self.net(xb), yb)

    def configure_optimizers(self):
        return torch.optim.SGD(self.net.parameters(), lr=self.lr)


class Contender:
    def __init__(self, work):
        dataset = TensorDataset(torch.from_numpy(work.x), torch.from_numpy(work.y))
        self.batches = DataLoader(dataset, work.batch_size, shuffle=True)
        self.module = Module(torch_net(work.weights), work.lr)

    def epoch(self):
        trainer = lightning.Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(self.module, self.batches)

    def weights(self):
        return [p.detach().numpy() for p in self.module.net.parameters()]
