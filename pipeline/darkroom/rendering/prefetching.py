"""Files of models that a worker loads later, copied from an object store while it renders with its first."""

import threading
from collections.abc import Sequence
from contextlib import suppress

from darkroom.domain.errors import DarkroomError
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.model_places import SETTING
from darkroom.rendering.part_files import folder_of
from darkroom.storage.store import is_remote


def prefetch(models: Sequence[InspectedModel]) -> None:
    """Begin, in a thread that ends with the process. What fails is copied, and its failure told, where it is loaded."""
    remote = [model for model in models if is_remote(model.source) or any(is_remote(part.path) for part in model.parts)]
    if remote:
        threading.Thread(target=_copy, args=(remote,), name="prefetch", daemon=True).start()


def _copy(models: Sequence[InspectedModel]) -> None:
    from darkroom.rendering.remote_files import remote_model  # with the clouds' client

    for model in models:
        with suppress(DarkroomError, OSError):
            if is_remote(model.source) and not model.single_file:
                remote_model(model.source, SETTING, model.identity.trust_remote_code).whole()
            for part in model.parts:
                if is_remote(part.path):
                    folder_of(part.part.kind, part.path, part.label)
