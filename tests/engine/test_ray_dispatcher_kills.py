"""SIGKILL of a worker in every phase of its life, on real local Ray: the dataset is the one of an undisturbed run."""

import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from darkroom.domain.records import ImageRequest
from darkroom.engine import outcomes
from darkroom.engine.dispatcher import LocalDispatcher
from darkroom.engine.tasks import Event, WorkerLost
from darkroom.engine.worker import Worker
from darkroom.rendering.renderer import RenderedImage, Renderer
from darkroom.runs.images import image_bytes
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import MakeMisbehaving, Misbehaving, dataset, run_info, tasks, worker

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

PUTS = ("before images", "after images", "before metadata", "after metadata")
PHASES = {"files": ("load", "render", "encode", *PUTS), "webdataset": PUTS}  # a layout tells in what is put alone


@dataclass
class KillingStore:
    """Kills its process beside the first put of a kind; a file for each phase says that it has had its turn."""

    store: Store
    flags: Path

    def __getattr__(self, name: str):
        return getattr(self.store, name)

    def put_if_absent(self, key: str, data: bytes, content_type: str = "") -> bool:
        kind = "metadata" if key.startswith("metadata") else "images"
        die_once(self.flags, f"before {kind}")
        written = self.store.put_if_absent(key, data, content_type)
        die_once(self.flags, f"after {kind}")
        return written


def die_once(flags: Path, phase: str) -> None:
    try:
        with (flags / phase).open("x") as flag:
            flag.write(str(os.getpid()))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class DyingRenderer:
    """Dies before its first batch: a shard is under way, and none of its pixels are there."""

    renderer: Renderer
    flags: Path

    def __post_init__(self) -> None:
        self.info = self.renderer.info

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        die_once(self.flags, "render")
        return self.renderer.render(requests)


def dying_first(flags: Path, phase: str, call: Callable) -> Callable:
    def doomed(*arguments):
        die_once(flags, phase)
        return call(*arguments)

    return doomed


@dataclass(frozen=True)
class MakeDoomed(MakeMisbehaving):
    flags: Path = Path()

    def __call__(self) -> Worker:
        die_once(self.flags, "load")
        outcomes.encode_image = dying_first(self.flags, "encode", outcomes.encode_image)  # in a process that will die
        store = KillingStore(open_store(self.store), self.flags)
        return worker(self.run, DyingRenderer(Misbehaving(**self.options), self.flags), store)


@pytest.mark.slow
@pytest.mark.parametrize("layout", PHASES)
def test_a_worker_killed_in_every_phase_leaves_the_same_dataset(tmp_path: Path, layout: str) -> None:
    from darkroom.engine.ray_dispatcher import RayDispatcher

    prompts = dataset([f"p{number:02}" for number in range(16)])
    run = run_info(prompts, shard_size=2, layout=layout, images=2)
    stores = [open_store(parse_spec(str(tmp_path / name))) for name in ("disturbed", "whole")]
    flags = tmp_path / "flags"
    flags.mkdir()
    for phase in set(PHASES["files"]) - set(PHASES[layout]):
        (flags / phase).touch()  # it has had its turn
    events: list[Event] = []
    doomed = MakeDoomed(run, stores[0].spec, flags=flags)
    RayDispatcher(doomed, 2, len(PHASES[layout]) + 1).run(tasks(run, prompts, stores[0]), events.append)
    LocalDispatcher(MakeMisbehaving(run, stores[1].spec), 1).run(tasks(run, prompts, stores[1]), lambda event: None)
    assert {path.name for path in flags.iterdir()} == set(PHASES["files"])
    # Two threads of one worker may be in two phases at the moment of its death.
    died = {process for phase in PHASES[layout] if (process := (flags / phase).read_text())}
    assert sum(isinstance(event, WorkerLost) for event in events) == len(died)
    assert len(PHASES[layout]) - 2 <= len(died)
    disturbed, whole = (contents(store) for store in stores)
    assert len(whole) == 32
    assert disturbed == whole
    assert {info.key for info in stores[0].list()} == {info.key for info in stores[1].list()}


def contents(store: Store) -> dict[tuple[str, int], tuple[str, bytes]]:
    found = [
        ((record.prompt, record.sample_index), (record.key, image_bytes(store, record))) for record in records(store)
    ]
    assert len(dict(found)) == len(found)
    return dict(found)
