"""What workers take of a cluster, and how many there is room for."""

import pytest

from darkroom.engine.capacity import WorkerResources

NODE = {"CPU": 8.0, "GPU": 2.0, "accelerator_type:A100": 1.0, "fast_disk": 3.0, "memory": 1e9}


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        (WorkerResources(), 8),
        (WorkerResources(1), 2),
        (WorkerResources(2), 1),
        (WorkerResources(0.5), 4),
        (WorkerResources(0.4), 4),  # two a GPU: a fraction stays on one
        (WorkerResources(0.1), 8),  # of ten a GPU, CPUs have room for eight
        (WorkerResources(4), 0),
        (WorkerResources(1, {"fast_disk": 2}), 1),
        (WorkerResources(1, {"other": 1}), 0),
        (WorkerResources(1, accelerator_type="A100"), 2),
        (WorkerResources(1, accelerator_type="H100"), 0),
    ],
)
def test_a_node_has_room_for_as_many_workers_as_what_is_scarcest(each: WorkerResources, expected: int) -> None:
    assert each.num_on(NODE) == expected


def test_a_worker_may_be_kept_off_nodes() -> None:
    assert WorkerResources().options(["b", "a"])["label_selector"] == {"ray.io/node-id": "!in(a, b)"}
    assert "label_selector" not in WorkerResources().options()
