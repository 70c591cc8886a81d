"""The self-test of a loaded model: a few small calls that show which promises hold for it, and to what difference.

Every call has the batch shape that the job will have. Nothing is known of the model but what the renderer protocol and
the table of families say, so that a class which nobody has tried is judged by what it does.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any

import numpy as np

from darkroom.domain.adapters import LORAS, Active
from darkroom.domain.certificates import Check
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.records import ImageRequest, Picture
from darkroom.domain.settings import CONTROL, IMAGE, MASK, NEUTRAL_LOSSY, Sampling
from darkroom.rendering.family import Guidance
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.renderer import FatalDeviceError, Renderer
from darkroom.rendering.schedulers import DEFAULT, compatible_schedulers

NUM_STEPS = 2  # of one, most schedulers make the same
_MOST_ROWS = 4
_PROMPTS = (  # of several lengths; one of them quotes a word, one is empty: each has its own path in some pipelines
    "a red circle",
    "a large blue square on a green field beside a small yellow triangle, in the soft light of an early morning",
    'a sign that says "open"',
    "",
)
_OTHERS = ('the words "no entry" in white', "two green triangles, one above the other, on black, from far away", "x")
_NEGATIVE = "blurry, dark, a blue square"
_MORE_GUIDANCE = 4.0
_FIRST_SEED = 1000
_FEW_FRAMES = 9  # which is a multiple of 4 and of 8, and one more
_LEAST_STRENGTH = 0.3  # of the pipelines' own
_MIDDLE = 0.5  # of refiner_start: of two steps each model has one

Pixels = np.ndarray  # (H, W, 3) uint8; of a video (F, H, W, 3)
Difference = tuple[int, float]  # the largest of two pixel values, and the share of values that differ


def sampling_of_test(sampling: Sampling) -> Sampling:
    """Settings as they are asked for, in few steps and frames, and without lossy settings."""
    start = None if sampling.refiner_start is None else _MIDDLE
    frames = min(sampling.num_frames, _FEW_FRAMES) if sampling.num_frames else None
    steps = NUM_STEPS if not sampling.image else ceil(NUM_STEPS / max(sampling.strength or _LEAST_STRENGTH, 0.01))
    few = replace(sampling, num_inference_steps=steps, num_frames=frames, negative_prompt="", refiner_start=start)
    return replace(few, **NEUTRAL_LOSSY)


def pictures_of_test(sampling: Sampling, number: int) -> tuple[Picture, ...]:
    """Noise, of which a mask keeps half, for each picture that images are made from; whatever these are called."""
    size = sampling.height, sampling.width
    image = np.random.default_rng(_FIRST_SEED + number).integers(0, 256, (*size, 3), dtype=np.uint8)
    mask = np.zeros(size, np.uint8)
    mask[:, : size[1] // 2] = 255
    made = {IMAGE: image, MASK: mask, CONTROL: image[::-1]}
    return tuple(Picture(name, "", made[name]) for name in sampling.pictures)


def self_test(
    renderer: Renderer, model: InspectedModel, sampling: Sampling, adapters: Active = ()
) -> tuple[Check, ...]:
    """Every promise of `domain/certificates.py`. Raises DarkroomError where nothing is learnt of the model: no image
    can be made at all, memory runs out, or the device is lost."""
    try:
        return tuple(_Trial(renderer, model, sampling_of_test(sampling), adapters).checks())
    except Exception as error:
        raise DarkroomError(
            f"{model.identity.repo_id} cannot be tested with batches of {renderer.info.batch_size}: {first_line(error)}"
        ) from error


class _Trial:
    def __init__(self, renderer: Renderer, model: InspectedModel, sampling: Sampling, adapters: Active) -> None:
        self._renderer, self._model, self._sampling = renderer, model, sampling
        self._size = renderer.info.batch_size
        self._rows = [
            ImageRequest(
                f"test-{place}",
                prompt,
                _FIRST_SEED + place,
                sampling,
                adapters,
                pictures=pictures_of_test(sampling, place),
            )
            for place, prompt in enumerate(_PROMPTS[: min(_MOST_ROWS, self._size)])
        ]
        self._images = self._call(self._rows)
        self._uncompiled: Sequence[Pixels] | None = None  # once they are made

    def checks(self) -> Iterator[Check]:
        yield self._check("repetition", self._repetition)
        for name, test in (("place", self._place), ("neighbours", self._neighbours), ("padding", self._padding)):
            yield self._check(name, test if self._size > 1 else None)
        yield self._check("mixing", self._mixing if self._size > 1 and self._renderer.info.mixes_guidance else None)
        yield self._check(
            "lora_mixing", self._lora_mixing if self._size > 1 and self._renderer.info.mixes_loras else None
        )
        yield self._check("compiled", self._compiled if self._renderer.info.compiled else None)
        by_diffusers = None if self._sampling.pictures else getattr(self._renderer, "by_diffusers", None)
        yield self._check(
            "diffusers", by_diffusers and (lambda: _between(self._eager()[0], by_diffusers(self._rows[0])))
        )
        yield self._check("size", self._size_made)
        for name in (
            "prompt",
            "seed",
            "guidance_scale",
            "negative_prompt",
            "num_inference_steps",
            "scheduler",
            "refiner_start",
            CONTROL,
        ):
            changed = [found for row in self._rows if (found := self._changed(name, row))]
            yield self._check(name, partial(self._against_first, changed) if changed else None)

    def _check(self, name: str, test: Callable[[], Difference] | None) -> Check:
        if test is None:
            return Check(name, None)
        try:
            difference, share = test()
        except (FatalDeviceError, MemoryError):
            raise  # which says nothing of the model
        except Exception as error:  # pipelines raise what they like
            return Check(name, None, error=first_line(error))
        return Check(name, difference, share)

    def _call(self, requests: Sequence[ImageRequest]) -> list[Pixels]:
        """With texts encoded anew, since a kept embedding would hide what its neighbours do to it."""
        forget = getattr(self._renderer, "forget_texts", None)
        if forget:
            forget()
        found = []
        for image in self._renderer.render(requests):
            if image.pixels is None:
                raise DarkroomError(f"no image in a call of the self-test: {image.error}")
            found.append(image.pixels)
        return found

    # Equality -------------------------------------------------------------------------------------------------------

    def _repetition(self) -> Difference:
        return _largest(zip(self._images, self._call(self._rows), strict=True))

    def _place(self) -> Difference:
        """Rows in the opposite order, and one row in every place."""
        backwards = self._call(self._rows[::-1])[::-1]
        everywhere = self._call([self._rows[0]] * self._size)
        return _largest([*zip(self._images, backwards, strict=True), *((self._images[0], each) for each in everywhere)])

    def _neighbours(self) -> Difference:
        others = [
            replace(self._rows[0], prompt=prompt, seed=place, pictures=pictures_of_test(self._sampling, -1 - place))
            for place, prompt in enumerate(_OTHERS)
        ]
        return _between(self._images[0], self._call([self._rows[0], *others][: self._size])[0])

    def _padding(self) -> Difference:
        return _between(self._images[0], self._call(self._rows[:1])[0])

    def _mixing(self) -> Difference:
        """Two scales, one of them with a negative prompt, in one batch and each in a batch of its own."""
        scale = max(self._sampling.guidance_scale, _MORE_GUIDANCE)
        one = replace(self._sampling, guidance_scale=scale)
        other = replace(self._sampling, guidance_scale=scale + _MORE_GUIDANCE, negative_prompt=self._negative())
        rows = [replace(self._rows[0], sampling=each) for each in (one, other)]
        return self._together_and_alone(rows)

    def _lora_mixing(self) -> Difference:
        """All LoRAs at their weights, none, and each at half of its weight."""
        loras = tuple(
            (each.part.revision, each.part.weight or 1.0) for each in self._model.parts if each.part.kind == LORAS
        )
        choices = [loras, (), *(((revision, weight / 2),) for revision, weight in loras)]
        rows = [replace(self._rows[0], adapters=each) for each in choices[: self._size]]
        return self._together_and_alone(rows)

    def _together_and_alone(self, rows: Sequence[ImageRequest]) -> Difference:
        return _largest(zip(self._call(rows), [self._call([row])[0] for row in rows], strict=True))

    def _compiled(self) -> Difference:
        return _largest(zip(self._images, self._eager(), strict=True))

    def _eager(self) -> Sequence[Pixels]:
        """The rows' images without compiled code, so that what compiling moves is told apart from all else."""
        if not self._renderer.info.compiled:
            return self._images
        if self._uncompiled is None:
            with self._renderer.uncompiled():  # type: ignore[attr-defined]
                self._uncompiled = self._call(self._rows)
        return self._uncompiled

    def _size_made(self) -> Difference:
        asked, (*frames, height, width, _) = self._sampling, self._images[0].shape
        if (height, width) != (asked.height, asked.width):
            raise DarkroomError(f"{width}x{height} was made of {asked.width}x{asked.height}")
        if frames != ([asked.num_frames] if asked.is_video else []):
            raise DarkroomError(f"{frames[0] if frames else 'no'} frames were made of {asked.num_frames}")
        return 0, 0.0

    # Effect ---------------------------------------------------------------------------------------------------------

    def _against_first(self, changed: Sequence[ImageRequest]) -> Difference:
        """Where the change is of a negative prompt, both are guided."""
        first, sampling = self._images, changed[0].sampling
        if sampling.negative_prompt:
            without = replace(sampling, negative_prompt="")
            first = self._call([replace(row, sampling=without) for row in changed])
        return _largest(zip(first, self._call(changed), strict=True))

    def _changed(self, name: str, row: ImageRequest) -> ImageRequest | None:
        """The request with another value of this; None where the model takes none."""
        sampling, family = self._sampling, self._model.family
        values: dict[str, Any] = {
            "num_inference_steps": sampling.num_inference_steps + 1,
            "scheduler": next((each for each in self._schedulers() if each != sampling.scheduler), None),
            "guidance_scale": sampling.guidance_scale + _MORE_GUIDANCE,
            "negative_prompt": self._negative(),
            "refiner_start": None if sampling.refiner_start is None else 1.0,
        }
        if name == "prompt":
            return replace(row, prompt=_OTHERS[1])
        if name == CONTROL:
            others = {each.name: each for each in pictures_of_test(sampling, -1)}
            changed_ones = tuple(others[name] if each.name == name else each for each in row.pictures)
            return replace(row, pictures=changed_ones) if sampling.control_image else None
        if name == "seed":
            return replace(row, seed=row.seed + len(_PROMPTS))
        if (name == "guidance_scale" and family.guidance is Guidance.NONE) or not values[name]:
            return None
        changed = {name: values[name]}
        if name == "negative_prompt":
            changed["guidance_scale"] = max(sampling.guidance_scale, _MORE_GUIDANCE)
        return replace(row, sampling=replace(sampling, **changed))

    def _negative(self) -> str:
        family = self._model.family
        return _NEGATIVE if family.takes_negative_prompt and family.guidance is Guidance.BRANCHES else ""

    def _schedulers(self) -> Collection[str]:
        """Those first whose steps are another arithmetic than that of most models' own."""
        names = compatible_schedulers(self._model)
        return sorted(names, key=lambda name: (name == DEFAULT, "heun" not in name, "euler" in name, name))


def _between(one: Pixels, other: Pixels) -> Difference:
    if one.shape != other.shape:
        raise DarkroomError(f"sizes differ: {_size_text(one)} and {_size_text(other)}")
    apart = np.abs(one.astype(np.int16) - other.astype(np.int16))
    return int(apart.max()), float(np.count_nonzero(apart) / apart.size)


def _size_text(pixels: Pixels) -> str:
    """Width, height, and of a video its frames."""
    return "x".join(map(str, [pixels.shape[-2], pixels.shape[-3], *pixels.shape[:-3]]))


def _largest(pairs: Any) -> Difference:
    found = [_between(one, other) for one, other in pairs]
    return max(difference for difference, _ in found), max(share for _, share in found)
