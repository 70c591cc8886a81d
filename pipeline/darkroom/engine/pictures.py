"""Pictures of a shard's rows: read and decoded by threads beside the device, and put into its samples' requests.

Which pictures an image is made from is said by its settings, as names. A record keeps the digest of what they were, and
who renders an image again by its record is told where they are no longer that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import lcm

from darkroom.domain.identity import ModelIdentity
from darkroom.domain.records import Picture, Sample
from darkroom.domain.settings import SETTINGS, Sampling
from darkroom.runs.pictures import fitted, read, sized
from darkroom.storage.named_files import NamedPlace, Unreadable, keep
from darkroom.storage.store import open_store, prefetched

_NUM_THREADS = 4
Read = tuple[Sampling, tuple[Picture, ...]] | str  # with the size that the image has; or why there is none


@dataclass(frozen=True)
class Pictures:
    """Where pictures lie, and what sizes the models make."""

    place: NamedPlace = NamedPlace()  # noqa: RUF009, frozen
    units: Mapping[ModelIdentity, int] = field(default_factory=dict)  # a model without LoRAs -> pixels of which the
    # sides of its images are a multiple

    def given(self, samples: Sequence[Sample], base: ModelIdentity) -> tuple[list[Sample], dict[str, str]]:
        """The samples, with pictures and sizes where their settings name pictures; and image_id -> why these cannot be
        had.

        Held in memory is each picture as it is rendered, once, however many images are made from it. Raises StoreError
        where a store fails.
        """
        asked = {
            item.request.sampling: None for item in samples if item.request.sampling.pictures and not item.row.error
        }
        if not asked:
            return list(samples), {}
        self._keep(samples)
        unit = lcm(_multiple(), self.units.get(base, 1))
        found = dict(zip(asked, prefetched(asked, lambda each: self._read(each, unit), _NUM_THREADS), strict=True))
        made = {item.request.image_id: _with(item, found.get(item.request.sampling)) for item in samples}
        given = [each if isinstance(each := made[item.request.image_id], Sample) else item for item in samples]
        return given, {image_id: each for image_id, each in made.items() if isinstance(each, str)}

    def _keep(self, samples: Sequence[Sample]) -> None:
        """Put the files that rows hold into the run."""
        held = {name: data for item in samples for name, data in item.row.files}
        if held and self.place.kept:
            store = open_store(self.place.kept)
            for _ in prefetched(held.items(), lambda each: keep(store, *each), _NUM_THREADS, waits=True):
                pass

    def _read(self, sampling: Sampling, unit: int) -> Read:
        try:
            whole = read(self.place, sampling)
            sampling = sized(whole, sampling, unit)
            made = fitted(whole, sampling)
        except Unreadable as error:
            return str(error)
        digests = whole.digests
        return sampling, tuple(Picture(name, digests[name], pixels) for name, pixels in made.pixels.items())


def _multiple() -> int:
    allowed = SETTINGS["height"].allowed
    assert allowed
    return allowed.multiple


def _with(sample: Sample, made: Read | None) -> Sample | str:
    """The sample with what was read for it, or why it cannot be rendered."""
    if made is None or isinstance(made, str):
        return sample if made is None else made
    sampling, pictures = made
    now = {each.name: each.sha256 for each in pictures}
    for then in sample.request.pictures:  # of a record
        if now.get(then.name) != then.sha256:
            return (
                f"{then.name}={getattr(sampling, then.name)}: it is another picture now (recorded {then.sha256[:12]}, "
                f"found {str(now.get(then.name))[:12]}); put back the one that it was"
            )
    return replace(sample, request=replace(sample.request, sampling=sampling, pictures=pictures))
