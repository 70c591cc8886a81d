"""Models as they are named: where each is, and what its small files say; those of a run's cells where they lay, or
where the caller says that they lie now. Digests decide there, not names.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkroom.api.options import ModelPlace
from darkroom.api.parts import parts_of, with_lora_files, with_lora_names, with_places, without_parts
from darkroom.api.plug_ins import trusted_ref
from darkroom.demo import MODEL_FOLDER
from darkroom.domain.errors import DarkroomError, MissingPackage
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.setting_values import checked_model
from darkroom.domain.settings import SETTINGS, ModelRef, settings_of
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import execution_of, inspect_model, single_file_revision
from darkroom.rendering.model_files import INDEX
from darkroom.rendering.model_places import CONFIGURATIONS, configuration_of
from darkroom.rendering.part_files import files_at
from darkroom.rendering.plugins import inspect_plug_in
from darkroom.rendering.renderer import PAINT_REPO_ID, paint_model
from darkroom.runs.cells import CellInfo
from darkroom.runs.commands import preset_of, presets
from darkroom.storage.store import is_remote

DEMO_REPO_ID = "darkroom/demo"
_MADE_WITH = "the run was made with"
_FILE_REMEDY = "give its place, or the folder that holds it, as model.single_file=..."
_REMEDY = "give the model's place, or the folder that holds all models of the run, as model.repo_id=..."


def located(ref: ModelRef) -> ModelRef:
    """The model as named; a local folder by its absolute path, so that a run can be verified from anywhere. What is
    embedded is that, whatever folder of such a name lies where the work is started."""
    ref = _configured(_without_usual_variant(with_places(checked_model(ref))))
    if is_remote(ref.repo_id):
        return replace(ref, repo_id=ref.repo_id.rstrip("/"))
    folder = Path(ref.repo_id).expanduser()
    is_no_folder = ref.make or preset_of(ref.repo_id) or not folder.is_dir()
    return ref if is_no_folder else replace(ref, repo_id=str(folder.resolve()))


def _configured(ref: ModelRef) -> ModelRef:
    """A single file is no file of the embedded model, which is only the default: what comes with Darkroom for its kind
    configures it."""
    found = configuration_of(ref.single_file) if ref.single_file and ref.repo_id == DEMO_REPO_ID else None
    return replace(ref, repo_id=found) if found else ref


def _without_usual_variant(ref: ModelRef) -> ModelRef:
    """A preset's variant is of its own weights, and not of a single file in their place."""
    usual = {(each.repo_id, each.variant) for each in presets().values()}
    return replace(ref, variant=None) if ref.single_file and (ref.repo_id, ref.variant) in usual else ref


def check_used(ref: ModelRef) -> None:
    """Raises DarkroomError for a setting of the model that nothing would be read by."""
    if ref.make:
        return  # the renderer says what it takes
    is_configuration = ref.repo_id in CONFIGURATIONS
    is_hubs = not (is_configuration or preset_of(ref.repo_id) or is_remote(ref.repo_id) or Path(ref.repo_id).is_dir())
    if is_configuration and not ref.single_file:
        raise DarkroomError(
            f"model.repo_id={ref.repo_id} is a configuration without weights; give these as model.single_file"
        )
    if ref.revision is not None and not is_hubs:
        raise DarkroomError(f"model.revision={ref.revision}: {ref.repo_id} is no model of a hub; leave it out")
    if ref.repo_id == PAINT_REPO_ID:
        for name in ("dtype", "variant"):
            usual = getattr(presets()["paint"], name)
            if getattr(ref, name) not in (usual, SETTINGS[name].default):
                raise DarkroomError(f"model.{name}={getattr(ref, name)}: the painter has no weights; leave it out")
        for each in (each for each in settings_of(ModelRef) if each.has_neutral):
            if each.does_something(getattr(ref, each.name)):
                raise DarkroomError(f"model.{each.name}: the painter has no weights; leave it out")


def with_files(ref: ModelRef) -> ModelRef:
    """The same, with the folder of the embedded model and the files of embedded LoRAs in the place of their names."""
    ref = with_lora_files(ref)
    return replace(ref, repo_id=str(MODEL_FOLDER)) if ref.repo_id == DEMO_REPO_ID else ref


def find_model(ref: ModelRef, device: str, later: Collection[str] = ()) -> InspectedModel:
    """The model's identity and needs, read from its small files; `later`: kinds of parts that it will have besides."""
    if ref.make:
        return inspect_plug_in(ref)
    if ref.repo_id == PAINT_REPO_ID:
        return paint_model()
    try:
        model = inspect_model(with_files(ref), device, later)
    except DarkroomError as error:
        error.args = (with_lora_names(str(error)),)
        raise
    is_embedded = ref.repo_id == DEMO_REPO_ID and not ref.single_file
    return replace(model, identity=replace(model.identity, repo_id=DEMO_REPO_ID)) if is_embedded else model


# Of a run ------------------------------------------------------------------------------------------------------------


def check_place(cells: Iterable[CellInfo], place: ModelPlace) -> None:
    """Raises DarkroomError for a place of what no model of the run has."""
    if place.single_file and not any(info.ref.single_file for info in cells):
        raise DarkroomError(f"model.single_file={place.single_file}: no model of the run is of one file; leave it out")


def models_of(cells: Iterable[CellInfo], place: ModelPlace, device: str) -> dict[ModelIdentity, InspectedModel]:
    """The cells' models. Raises DarkroomError where one is not what the run was made with."""
    once = {info.cell.model: info for info in cells}
    for info in once.values():
        _check_trust(info, place.trust_remote_code)
    return {identity: _model_of(info, place, device) for identity, info in once.items()}


def _check_trust(info: CellInfo, trusts: bool) -> None:
    if info.cell.model.trust_remote_code and not trusts:
        raise DarkroomError(
            f"cell {info.cell.cell_id}: model.repo_id={info.ref.repo_id} runs code of its own; give "
            "model.trust_remote_code=true if you trust it"
        )


def _model_of(info: CellInfo, place: ModelPlace, device: str) -> InspectedModel:
    """Where it lay is looked at too: a run may have several models, and not all have moved."""
    if info.ref.make:
        return _plug_in_of(info, place, device)
    identity, said = info.cell.model, []
    for ref in _refs(info.ref, place):
        try:
            if ref.single_file:  # before it is converted
                _check_file(ref, identity)
            model = _inspected(ref, identity, device)
        except MissingPackage:
            raise
        except DarkroomError as error:
            said.append(f"{error}; or {_FILE_REMEDY if ref.single_file else _REMEDY}")
            continue
        if model.identity.revision == identity.revision:
            parts = parts_of(info, place.adapters or ())
            return replace(model, identity=identity, parts=parts, execution=execution_of(info.ref))
        said.append(
            f"model.repo_id={ref.repo_id} is {model.identity.revision}, and {_MADE_WITH} {identity.revision}; restore "
            f"that model, or {_REMEDY}"
        )
    raise DarkroomError(said[0])


def _check_file(ref: ModelRef, identity: ModelIdentity) -> None:
    if (found := single_file_revision(with_files(ref))) != identity.revision:
        raise DarkroomError(f"model.single_file={ref.single_file} is {found}, and {_MADE_WITH} {identity.revision}; "
                            "restore it")  # fmt: skip


def _plug_in_of(info: CellInfo, place: ModelPlace, device: str) -> InspectedModel:
    """The renderer of one's own that made a cell. Raises DarkroomError where what is named now is another."""
    if place.repo_id:
        raise DarkroomError(f"model.repo_id={place.repo_id}: model.make={info.ref.make} has no place; leave it out")
    identity, ref = info.cell.model, trusted_ref(info, place)
    model = find_model(ref, device)
    if model.identity.revision != identity.revision:
        raise DarkroomError(
            f"model.make={ref.make} is {model.identity.revision}, and the run was made with {identity.revision}: its "
            "code, its options or its own revision are others now; restore them"
        )
    return replace(model, identity=identity)


def _inspected(ref: ModelRef, identity: ModelIdentity, device: str) -> InspectedModel:
    """As the run's model was looked at."""
    commit = None if identity.revision.startswith("sha256:") else identity.revision
    trusts = identity.trust_remote_code
    lossy: dict[str, Any] = identity.lossy
    ref = replace(ref, dtype=identity.dtype, variant=identity.variant, trust_remote_code=trusts, **lossy)
    ref = without_parts(ref)
    later = [part.kind for part in identity.parts]
    return find_model(replace(ref, revision=commit or ref.revision), device, later)


def _refs(ref: ModelRef, place: ModelPlace) -> Iterator[ModelRef]:
    """What may be the model, those that the caller says first."""
    models = list(_refs_at(place.repo_id)) if place.repo_id else []
    if not ref.single_file:
        yield from (*models, ref)
        return
    files = [*(files_at(place.single_file) if place.single_file else ()), ref.single_file]
    for configuration in (*models, ref):
        yield from (replace(configuration, single_file=file) for file in files)


def _refs_at(place: str) -> Iterator[ModelRef]:
    """The place itself, and where it is no model, the models in it."""
    folder = Path(place).expanduser()
    inside = sorted(path.parent for path in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    here = [folder.resolve()] if folder.is_dir() else [place]
    yield from (ModelRef(str(path)) for path in (inside if inside and not (folder / INDEX).is_file() else here))
