"""The Inception network of the Frechet Inception Distance, as TensorFlow's graph of 2015-12-05 has it.

Szegedy et al. 2015 ("Rethinking the Inception Architecture"), with what sets that graph apart from the paper and from
torchvision: 1,008 classes, averages that leave padding out of the count, and a max pool in the last block. Modules are
named as in the weights file that pytorch-fid and torch-fidelity share.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn
from torch.nn.functional import avg_pool2d, max_pool2d, relu

SIDE = 299  # pixels
NUM_FEATURES = 2048
NUM_CLASSES = 1008

Kernel = int | tuple[int, int] | str
Steps = list[tuple[int, Kernel]]  # (channels out, kernel), one convolution after another
Pool = Callable[[torch.Tensor], torch.Tensor]

_ROW, _COLUMN = (1, 7), (7, 1)
_SHRINK = "3x3 of stride 2, without padding"
_FORK = "1x3 and 3x1 side by side"


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU; `padding` None keeps the size."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        pads = (height // 2, width // 2) if padding is None else (padding, padding)
        self.conv = nn.Conv2d(channels_in, channels, (height, width), stride, pads, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches side by side, and a pool with a 1x1 convolution after it where `pool_channels` is given."""

    def __init__(self, channels_in: int, branches: Mapping[str, Steps], pool: Pool, pool_channels: int = 0) -> None:
        super().__init__()
        self._stages = [self._add(name, channels_in, steps) for name, steps in branches.items()]
        self._pool = pool
        self.branch_pool = ConvNorm(channels_in, pool_channels, 1) if pool_channels else nn.Identity()

    def _add(self, name: str, channels_in: int, steps: Steps) -> list[list[str]]:
        """Names of the branch's convolutions, stage by stage: one in each, or two in a fork."""
        stages = []
        for number, (channels, kernel) in enumerate(steps, 1):
            label = name if len(steps) == 1 else f"{name}_{number}"
            if kernel == _FORK:
                convs = {
                    f"{label}{side}": ConvNorm(channels_in, channels, k) for side, k in (("a", (1, 3)), ("b", (3, 1)))
                }
            elif kernel == _SHRINK:
                convs = {label: ConvNorm(channels_in, channels, 3, stride=2, padding=0)}
            else:
                assert not isinstance(kernel, str)
                convs = {label: ConvNorm(channels_in, channels, kernel)}
            for key, conv in convs.items():
                self.add_module(key, conv)
            stages.append(list(convs))
            channels_in = channels
        return stages

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        outputs = []
        for stages in self._stages:
            y = x
            for names in stages:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
            outputs.append(y)
        return torch.cat([*outputs, self.branch_pool(self._pool(x))], 1)


def _average(x: torch.Tensor) -> torch.Tensor:
    return avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: torch.Tensor) -> torch.Tensor:
    return max_pool2d(x, 3, stride=1, padding=1)


def _halve(x: torch.Tensor) -> torch.Tensor:
    return max_pool2d(x, 3, stride=2)


def _mixed_5(channels_in: int, pool_channels: int) -> Mixed:
    branches: dict[str, Steps] = {
        "branch1x1": [(64, 1)],
        "branch5x5": [(48, 1), (64, 5)],
        "branch3x3dbl": [(64, 1), (96, 3), (96, 3)],
    }
    return Mixed(channels_in, branches, _average, pool_channels)


def _mixed_6a() -> Mixed:
    return Mixed(288, {"branch3x3": [(384, _SHRINK)], "branch3x3dbl": [(64, 1), (96, 3), (96, _SHRINK)]}, _halve)


def _mixed_6(inner: int) -> Mixed:
    branches: dict[str, Steps] = {
        "branch1x1": [(192, 1)],
        "branch7x7": [(inner, 1), (inner, _ROW), (192, _COLUMN)],
        "branch7x7dbl": [(inner, 1), (inner, _COLUMN), (inner, _ROW), (inner, _COLUMN), (192, _ROW)],
    }
    return Mixed(768, branches, _average, 192)


def _mixed_7a() -> Mixed:
    branches: dict[str, Steps] = {
        "branch3x3": [(192, 1), (320, _SHRINK)],
        "branch7x7x3": [(192, 1), (192, _ROW), (192, _COLUMN), (192, _SHRINK)],
    }
    return Mixed(768, branches, _halve)


def _mixed_7(channels_in: int, pool: Pool) -> Mixed:
    branches: dict[str, Steps] = {
        "branch1x1": [(320, 1)],
        "branch3x3": [(384, 1), (384, _FORK)],
        "branch3x3dbl": [(448, 1), (384, 3), (384, _FORK)],
    }
    return Mixed(channels_in, branches, pool, 192)


class FidInception(nn.Module):
    """(N, 3, 299, 299) float32, about [-1, 1], to (N, 2048): the averages of the last block, known as pool3."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, stride=2, padding=0)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, padding=0)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, padding=0)
        self.Mixed_5b = _mixed_5(192, pool_channels=32)
        self.Mixed_5c = _mixed_5(256, pool_channels=64)
        self.Mixed_5d = _mixed_5(288, pool_channels=64)
        self.Mixed_6a = _mixed_6a()
        self.Mixed_6b = _mixed_6(128)
        self.Mixed_6c = _mixed_6(160)
        self.Mixed_6d = _mixed_6(160)
        self.Mixed_6e = _mixed_6(192)
        self.Mixed_7a = _mixed_7a()
        self.Mixed_7b = _mixed_7(1280, _average)
        self.Mixed_7c = _mixed_7(2048, _maximum)
        self.fc = nn.Linear(NUM_FEATURES, NUM_CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = _halve(self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x))))
        x = _halve(self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))
