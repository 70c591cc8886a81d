"""How many objects a rendering leaves in its store, and how many requests it makes there: what stores charge for, and
what makes a run slow to list, to read and to remove."""

import math
from dataclasses import dataclass

from darkroom.api.checking import Checked
from darkroom.engine.planning import num_shards
from darkroom.runs.layouts import CONTAINERS

MANY_OBJECTS = 100_000
_A_PAGE = 1000  # objects of one request that lists
_LISTINGS = 4  # of all manifests, by one command
_FIXED = 70  # requests of any command: probes, the run's own files, its driver's, those that the contact sheet shows


@dataclass(frozen=True)
class Footprint:
    """Of a run of one cell, once it is finished."""

    num_rows: int
    num_images: int
    shard_size: int
    layout: str
    num_extractors: int = 0  # whose features are made as images are rendered

    @property
    def num_shards(self) -> int:
        return num_shards(self.num_rows, self.shard_size)

    @property
    def num_image_objects(self) -> int:
        """Images, or a container a shard."""
        return self.num_shards if self.layout in CONTAINERS else self.num_images

    @property
    def num_objects(self) -> int:
        """With a manifest a shard, and its features by each extractor."""
        return self.num_image_objects + self.num_shards * (1 + self.num_extractors)

    @property
    def num_requests(self) -> int:
        """Of one command that is not disturbed: a put an object, and listings."""
        return self.num_objects + _LISTINGS * math.ceil(self.num_shards / _A_PAGE) + _FIXED

    @property
    def advice(self) -> str:
        """What makes fewer objects, where there are many; else empty."""
        if self.num_objects <= MANY_OBJECTS:
            return ""
        remedies, each = [], 2 + self.num_extractors
        num_shards = self.num_shards
        if self.layout not in CONTAINERS:
            remedies.append(f"output.layout={' or '.join(CONTAINERS)}")
        if num_shards * each > MANY_OBJECTS:
            size = math.ceil(self.num_rows * each / MANY_OBJECTS)
            num_shards = math.ceil(self.num_rows / size)
            remedies.append(f"engine.shard_size={size}")
        return (
            f"{self.num_objects:,} objects are many to store, list and read; {' with '.join(remedies)} makes "
            f"{num_shards * each:,}"
        )


def footprint(found: Checked, shard_size: int) -> Footprint:
    request = found.request
    extractors = request.evaluation.extractors if request.evaluation else ()
    return Footprint(found.scan.num_rows, found.num_images, shard_size, request.output.layout, len(extractors))
