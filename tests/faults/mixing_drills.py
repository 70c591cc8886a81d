"""Drills of two things in one folder that do not belong together: commands, shard sizes, weights, jobs.

Each ends as the undisturbed run, after the same command again where it was refused.
"""

import os
import shutil
from pathlib import Path

from darkroom.demo import MODEL_FOLDER
from darkroom.domain.records import FAILED
from darkroom.runs.files import RUN_KEY, image_key
from darkroom.runs.reading import records
from tests.faults.account import Tally, Whole, account, whole
from tests.faults.doomed import Doom, Failing
from tests.faults.drills import Place, place
from tests.processes import Job, ended, wait_for

OTHER = "sampling.guidance_scale=9"  # another command, for the same folder
UNET = Path("unet") / "diffusion_pytorch_model.safetensors"


def two_commands(expected: Whole, folder: Path) -> Tally:
    """Different commands at once: one is refused, and the folder holds the other's images alone."""
    there, here = place(folder / "alone", None, None, OTHER), place(folder / "both")
    there.finish()
    jobs = [here.start(), here.start(more=(OTHER,))]
    said = "".join(ended(job, 0, 2) for job in jobs)
    codes = [job.returncode for job in jobs]
    assert sorted(codes) == [0, 2], said
    return account(here.store, expected if codes[0] == 0 else whole(there.store), 1, said)


def run_json_lost(expected: Whole, here: Place) -> Tally:
    """Half done, without its description: another shard size is refused, or takes what the shards say."""
    ended(here.start(Doom("kill", "after", "metadata/", 2)), -9)
    here.store.delete([RUN_KEY])
    said = ended(here.start(more=("engine.shard_size=5",)), 0, 2)
    return account(here.store, expected, 1, said + here.finish())


def gc_beside_retry(expected: Whole, here: Place) -> Tally:
    """Failed records are rendered again while `gc` removes old objects that lie under their images' keys."""
    ended(here.start(Failing("prompt 1")), 3)
    failed = [record for record in records(here.store) if record.status == FAILED]
    for record in failed:
        key = image_key(record.image_id, "png")
        here.store.put(key, b"left by an attempt that died")
        os.utime(Path(here.store.spec.uri) / key, (0, 0))  # younger files may be writes that are under way
    where = f"run={here.store.spec.uri}"
    jobs = [Job("retry", [where, "engine=local"]), *(Job("gc", [where]) for _ in range(3))]
    said = "".join(ended(job, 0, 75) for job in jobs)
    said += ended(Job("retry", [where, "engine=local"]), 0)
    return account(here.store, expected, len(failed), said)


def weights_replaced(folder: Path) -> Tally:
    """The second model of a sweep gets other weights while the first one is rendered; then its own again."""
    models = [Path(shutil.copytree(MODEL_FOLDER, folder / name)) for name in ("first", "second")]
    _scale(models[1] / UNET, 1.01)
    own = (models[1] / UNET).read_bytes()
    undisturbed = _sweep(folder / "whole", models)
    ended(undisturbed.start(), 0)
    here = _sweep(folder / "disturbed", models)
    job = here.start()
    wait_for(lambda: job.returncode is not None or any(here.store.list("images/")))
    _scale(models[1] / UNET, 1.5)
    said = ended(job, 2)
    (models[1] / UNET).write_bytes(own)
    return account(here.store, whole(undisturbed.store), 1, said + ended(here.start(), 0))


def _sweep(folder: Path, models: list[Path]) -> Place:
    names = ",".join(f"'{model}'" for model in models)
    given = (f"model.repo_id={models[0]}", f"grid.axes.repo_id=[{names}]", "sampling.num_inference_steps=2")
    return place(folder, None, None, *given, job="sweep", model=("model=diffusers",))


def _scale(path: Path, factor: float) -> None:
    from safetensors.torch import load, save

    tensors = load(path.read_bytes())
    name = min(tensors)
    path.write_bytes(save({**tensors, name: tensors[name] * factor}, {"format": "pt"}))
