"""What one worker takes of a Ray cluster, how many there is room for and should be, and what those that are not ready
wait for."""

import math
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ray

_NODE_LABEL = "ray.io/node-id"  # that Ray gives every node
_COUNT_EVERY_S = 10.0
_ROUNDING = 1e-9  # of a quotient of fractions, such as 1 / 0.1


@dataclass(frozen=True)
class WorkerResources:
    """What one worker takes, by Ray's names; one CPU besides."""

    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    accelerator_type: str | None = None

    def options(self, excluded: Collection[str] = ()) -> dict[str, Any]:
        """Of an actor that takes this, on any node but these, by their ids."""
        options: dict[str, Any] = {"num_cpus": 1, "num_gpus": self.num_gpus, "resources": dict(self.resources)}
        if self.accelerator_type:
            options["accelerator_type"] = self.accelerator_type
        if excluded:
            options["label_selector"] = {_NODE_LABEL: f"!in({', '.join(sorted(excluded))})"}
        return options

    def num_on(self, node: Mapping[str, float]) -> int:
        """Workers that a node with these resources has room for."""
        if self.accelerator_type and not node.get(f"accelerator_type:{self.accelerator_type}"):
            return 0
        wanted = {"CPU": 1.0, **self.resources}
        fitting = [_times(node.get(name, 0), amount) for name, amount in wanted.items()]
        return min([*fitting, self._num_on_gpus(node.get("GPU", 0))] if self.num_gpus else fitting)

    def _num_on_gpus(self, num_gpus: float) -> int:
        """Ray keeps a worker's fraction of a GPU on one GPU."""
        if self.num_gpus < 1:
            return int(num_gpus) * _times(1, self.num_gpus)
        return _times(num_gpus, self.num_gpus)

    def __str__(self) -> str:
        """For people, such as "1 CPU, 0.5 GPU, A100"."""
        amounts = {"CPU": 1, **({"GPU": self.num_gpus} if self.num_gpus else {}), **self.resources}
        words = [f"{amount:g} {name}" for name, amount in amounts.items()]
        return ", ".join([*words, *([self.accelerator_type] if self.accelerator_type else [])])


def _times(have: float, amount: float) -> int:
    return math.floor(have / amount + _ROUNDING)


def num_with_room(each: WorkerResources, excluded: Collection[str] = ()) -> int:
    """Workers that the nodes of the cluster hold together, whatever else runs there, without the excluded ones."""
    nodes = [node for node in ray.nodes() if node["Alive"] and node["NodeID"] not in excluded]
    return sum(each.num_on(node["Resources"]) for node in nodes)


def draining_nodes() -> Collection[str]:
    """Ids of the nodes that are about to leave."""
    found: Collection[str] = ray._private.state.state.get_draining_nodes()
    return found


class Wanted:
    """How many workers there should be, asked for anew now and then, and the nodes that are left out.

    A node that has other software, or another model, fails every worker; it is used again only where no other node has
    room for one.
    """

    def __init__(self, number: int | None, resources: WorkerResources) -> None:
        self._given = number
        self._resources = resources
        self._excluded: set[str] = set()
        self.count()

    @property
    def number(self) -> int:
        """At least 1: a cluster that starts nodes on demand needs one that waits."""
        if time.monotonic() - self._counted_at > _COUNT_EVERY_S:
            self.count()
        return max(1, self._room) if self._given is None else self._given

    @property
    def excluded(self) -> Collection[str]:
        return self._excluded if self._room else ()

    def exclude(self, node_id: str | None) -> None:
        if node_id:
            self._excluded.add(node_id)
            self.count()

    def count(self) -> None:
        """The room that there is now, on nodes that will stay."""
        self._counted_at = time.monotonic()
        self._room = num_with_room(self._resources, {*self._excluded, *draining_nodes()})


def node_of(actor: Any) -> str | None:
    """The id of the node that an actor's process is on; None while it waits for room, and where Ray forgot it."""
    about = ray._private.state.actors(actor._actor_id.hex()) or {}
    address = about.get("Address", {})  # without a port, of the node that it waits at
    return address.get("NodeID") if address.get("Port") else None


def why_pending(actors: Iterable[Any]) -> str:
    """What actors that are not ready wait for, such as "2 wait for room in the cluster, 1 loads"."""
    held = Counter("load" if node_of(actor) else "wait for room in the cluster" for actor in actors)
    return ", ".join(f"{number} {_singular(what) if number == 1 else what}" for what, number in sorted(held.items()))


def _singular(verb: str) -> str:
    first, _, rest = verb.partition(" ")
    return f"{first}s {rest}".strip()
