"""Two machines, one with other files under a model's name: nothing is rendered with them, and no attempt is lost."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.domain.identity import Cell
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.engine.dispatcher import LocalDispatcher
from darkroom.engine.planning import plan, shard_tasks
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import AttemptFailed, Event, ShardDone, ShardTask, Task, WorkerLost
from darkroom.engine.worker import Worker
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import RendererSpec
from darkroom.runs.reading import records
from darkroom.runs.run import RunInfo, create_or_check
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import dataset, run_info
from tests.rendering.tiny_models import tiny_sd

SAMPLING = Sampling("default", 5.0, 1, 16, 16)
PROMPTS = [f"p{number:02}" for number in range(16)]
UNET = "unet/diffusion_pytorch_model.safetensors"


def scale_unet(folder: Path, factor: float) -> Path:
    tensors = load_file(folder / UNET)
    save_file({name: tensor * factor for name, tensor in tensors.items()}, folder / UNET, {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models, and what one machine has in the place of the second."""
    first = tiny_sd(tmp_path_factory.mktemp("models") / "first")
    return [first, *(scale_unet(shutil.copytree(first, first.parent / name), by) for name, by in OTHERS.items())]


OTHERS = {"second": 1.01, "spoiled": 1.5}


@dataclass(frozen=True)
class OnTwoMachines:
    """A worker takes the first of two places that is free; in the last ones, a folder is another."""

    spec: WorkerSpec
    place: Path
    num_good: int
    folder: str
    instead: str

    def __call__(self) -> Worker:
        return (self.spec if self._number() < self.num_good else self._elsewhere())()

    def for_worker(self, name: str, task: Task | None) -> "OnTwoMachines":
        return replace(self, spec=self.spec.for_worker(name, task))

    def _number(self) -> int:
        for number in range(8):
            handle = os.open(self.place / str(number), os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until the process ends
            except OSError:
                os.close(handle)
            else:
                return number
        raise AssertionError("too many workers")

    def _elsewhere(self) -> WorkerSpec:
        return replace(self.spec, renderers=tuple(map(self._there, self.spec.renderers)))

    def _there(self, spec: RendererSpec) -> RendererSpec:
        moved = self.instead if spec.model.source == self.folder else spec.model.source
        return replace(spec, model=replace(spec.model, source=moved))


@dataclass(frozen=True)
class Work:
    """Two cells, of a model each."""

    run: RunInfo
    store: Store
    models: list[InspectedModel]

    def tasks(self) -> Iterator[ShardTask]:
        data = dataset(PROMPTS)
        for model in self.models:
            cell = Cell(model.identity, SAMPLING)
            shards = plan(len(PROMPTS), 2, [cell.cell_id], self.run.prompts.fingerprint, set())
            yield from shard_tasks(shards, {cell.cell_id: cell}, data.blocks)

    def on_two_machines(self, place: Path, instead: Path, num_good: int = 1, number: int = 1) -> OnTwoMachines:
        place.mkdir()
        specs = tuple(RendererSpec(model, "cpu", 2) for model in self.models)
        spec = WorkerSpec(self.run, specs, self.store.spec)
        return OnTwoMachines(spec, place, num_good, self.models[number].source, str(instead))

    @property
    def rendered(self) -> dict[str, int]:
        """Images by model."""
        found = [record.model for record in records(self.store)]
        return {name: found.count(name) for name in sorted(set(found))}


@pytest.fixture
def work(tmp_path: Path, folders: list[Path]) -> Work:
    store = open_store(parse_spec(str(tmp_path / "run")))
    run = create_or_check(store, run_info(dataset(PROMPTS), shard_size=2))
    models = [inspect_model(ModelRef(str(folder), dtype="float32"), "cpu") for folder in folders[:2]]
    return Work(run, store, models)


@pytest.mark.slow
def test_in_process_it_is_final_and_nothing_is_rendered_with_it(work: Work, folders: list[Path], tmp_path) -> None:
    make = work.on_two_machines(tmp_path / "places", folders[2], num_good=0)
    with pytest.raises(WrongModel, match=rf"second: on \S+, {UNET} in \S+spoiled is sha256:\w+ and not") as caught:
        LocalDispatcher(make, 3).run(work.tasks(), lambda event: None)
    assert "\n" not in str(caught.value)
    assert set(work.rendered) == {"first"}


def dispatch(work: Work, make: OnTwoMachines, num_workers: int) -> list[Event]:
    from darkroom.engine.ray_dispatcher import RayDispatcher

    events: list[Event] = []
    RayDispatcher(make, num_workers, max_attempts=1).run(work.tasks(), events.append)
    return events


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_the_other_machine_renders_its_shards(ray_cluster, work: Work, folders, tmp_path, number: int) -> None:
    """No attempt is charged: one failure would be final here."""
    make = work.on_two_machines(tmp_path / "places", folders[2], number=number)
    events = dispatch(work, make, 2)
    assert work.rendered == {"first": len(PROMPTS), "second": len(PROMPTS)}
    lost = [event.reason for event in events if isinstance(event, WorkerLost)]
    assert lost
    assert all(UNET in reason and "spoiled" in reason and "\n" not in reason for reason in lost)
    failed = [event for event in events if isinstance(event, AttemptFailed)]
    assert len(failed) <= 2  # what it held when it was first found out; it is never handed the model's shards again
    assert not any(event.final for event in failed)
    assert len([event for event in events if isinstance(event, ShardDone)]) == 2 * len(PROMPTS) // 2


@pytest.mark.slow
def test_where_no_machine_has_the_model_the_job_ends_with_the_reason(
    ray_cluster, work: Work, folders, tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.engine.actor._FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr("darkroom.engine.ray_dispatcher.MAX_FAILED_STARTS", 2)
    make = work.on_two_machines(tmp_path / "places", folders[2], num_good=0)
    with pytest.raises(DarkroomError, match=rf"no worker could start \(\d+ tries\): .*{UNET} in \S+spoiled"):
        dispatch(work, make, 1)  # of two, one would mostly load as the other fails, and each pause is twice as long
    assert work.rendered == {"first": len(PROMPTS)}
