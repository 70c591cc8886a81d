"""What a renderer is made from, and what it leaves to others."""

from dataclasses import dataclass, field

from darkroom.rendering.inspection import InspectedModel


@dataclass(frozen=True)
class RendererSpec:
    """What a renderer is made from: small and picklable."""

    model: InspectedModel
    device: str  # cpu, cuda or mps
    batch_size: int  # images in every call of the model
    compile: bool = False  # torch.compile: a slow first batch, faster ones after it
    num_threads: int = 1  # of the CPU, a worker; one number everywhere, since another one may move low bits
    seconds_per_batch: float = 0.0  # of the paint renderer: how long it pretends to work


@dataclass(frozen=True)
class Compiled:
    """What torch.compile made in one process."""

    machine: str  # digest of the kind of machine that it runs on
    data: bytes = field(repr=False)  # holds pickled objects
