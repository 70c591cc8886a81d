"""What an extractor is made from. Knows no network."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Seen:
    """An extractor as the job that asks for it found it: what a worker must find too."""

    digests: tuple[tuple[str, str], ...]  # of its files, by their names
    extractor_id: str


@dataclass(frozen=True)
class ExtractorSpec:
    """Small and picklable; one spec makes the same extractor in every process."""

    name: str = "demo_clip"  # one of opening.EXTRACTORS, or module:function of a plug-in
    source: str | None = None  # of the weights: a file, a folder or a hub id; None: where the name's own lie
    resize: str | None = None  # tf1, torch, torch-aa or clean; None: inception_v3 takes clean, others their processor's
    device: str = "cpu"  # cpu, cuda or mps
    batch_size: int = 32  # pictures in every call of the network, padding included
    seen: Seen | None = None  # None: whatever is there
