"""Reading committed images back."""

import hashlib
from pathlib import Path

import pytest

from darkroom.runs.images import first_images
from darkroom.runs.layouts import LAYOUTS
from darkroom.storage.store import open_store, parse_spec
from tests.engine.helpers import MakeMisbehaving, dataset, run_info, tasks
from tests.runs.stores import CountingStore


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_images_cost_each_object_one_fetch(tmp_path: Path, layout: str) -> None:
    store = CountingStore(open_store(parse_spec(str(tmp_path))))
    prompts = dataset([f"p{number}" for number in range(12)])
    run = run_info(prompts, layout=layout)
    worker = MakeMisbehaving(run, store.spec)()
    for task in tasks(run, prompts, store):
        worker.run_task(task, 1)
    store.fetched.clear()
    images = first_images(store, 6)
    assert [file.record.row for file in images] == list(range(6))
    assert all(file.record.sha256 == hashlib.sha256(file.data).hexdigest() == file.sha256 for file in images)
    assert all(store.fetched[file.record.key] == 1 for file in images)
