"torch's own parts with torch's own `DataLoader`."

from contenders import torch_nn
from torch.utils.data import DataLoader, TensorDataset


class Contender(torch_nn.Contender):
    def batches(self):
        return DataLoader(TensorDataset(self.x, self.y), self.batch_size, shuffle=True)
