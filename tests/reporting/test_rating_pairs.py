"""Pairs are of one prompt and two cells, balanced, drawn by the seed; and their page says nothing of cells."""

import io
import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import Record
from darkroom.reporting.rating_page import write_page
from darkroom.reporting.rating_pairs import ChosenPairs, chosen_pairs
from darkroom.runs.images import image_bytes
from darkroom.runs.ratings import RatedCell, Study
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.reporting.contents import HOSTILE
from tests.reporting.runs import cell, rendered

CELLS = [cell(guidance_scale=scale) for scale in (1.0, 3.0, 7.0)]
IDS = [item.cell.cell_id for item in CELLS]


def chosen(
    store: Store, num_pairs: int, num_repeats: int = 0, seed: int = 0, cells: list[str] | None = None
) -> ChosenPairs:
    return chosen_pairs(dict.fromkeys(cells or IDS, store), num_pairs, num_repeats, seed)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    prompts = [*(f"prompt {number}" for number in range(20)), *HOSTILE]
    return rendered(tmp_path_factory.mktemp("run"), prompts, CELLS, images=2)[0]


@pytest.fixture(scope="module")
def known(store: Store) -> dict[str, Record]:
    return {record.image_id: record for record in records(store)}


def test_pairs_are_of_new_prompts_and_all_pairs_of_cells_as_often(store: Store) -> None:
    pairs = chosen(store, 24).pairs
    assert len({pair.prompt for pair in pairs}) == 24
    met = Counter(frozenset((pair.left.cell_id, pair.right.cell_id)) for pair in pairs)
    assert list(met.values()) == [8, 8, 8]
    assert 4 < sum(pair.left.cell_id < pair.right.cell_id for pair in pairs) < 20


def test_a_seed_decides_and_another_one_draws_others(store: Store) -> None:
    first, again, other = chosen(store, 12), chosen(store, 12), chosen(store, 12, seed=1)
    assert (first, first.pairs == other.pairs) == (again, False)
    assert {pair.prompt for pair in first.pairs} != {pair.prompt for pair in other.pairs}


def test_there_are_no_more_than_there_are_and_none_is_there_twice(store: Store, known: dict[str, Record]) -> None:
    pairs = chosen(store, 1000).pairs
    assert len(pairs) == len(set(pairs)) == 24 * 2 * 3
    for pair in pairs:
        one, other = known[pair.left.image_id], known[pair.right.image_id]
        assert (one.prompt, one.sample_index) == (other.prompt, other.sample_index)


def test_some_come_again_turned_and_half_of_all_pairs_later(store: Store) -> None:
    pairs = chosen(store, 24, 6).pairs
    again = [(place, pair) for place, pair in enumerate(pairs) if pair.repeats is not None]
    assert (len(pairs), len(again)) == (30, 6)
    for place, pair in again:
        before = pairs[pair.repeats]
        assert (pair.left, pair.right, pair.prompt) == (before.right, before.left, before.prompt)
        assert place - pair.repeats >= 12


def test_images_without_a_partner_are_in_no_pair(tmp_path: Path) -> None:
    counts = {"one": (1, CELLS[0]), "two": (2, CELLS[1])}
    stores = {
        item.cell.cell_id: rendered(tmp_path / name, ["a", "b", "fail alone"], [item], images=images)[0]
        for name, (images, item) in counts.items()
    }
    pairs = chosen_pairs(stores, 9, 0, 0).pairs
    assert sorted(pair.prompt for pair in pairs) == ["a", "b"]
    store = stores[IDS[0]]
    with pytest.raises(DarkroomError, match="no prompt has an image in two of them"):
        chosen(store, 9, cells=[IDS[0], "0" * 16])


def test_a_prompt_id_that_names_two_prompts_is_refused(tmp_path: Path) -> None:
    stores = {
        item.cell.cell_id: rendered(tmp_path / text, [text], [item], prompt_id=["one"])[0]
        for text, item in zip(("a cat", "a dog"), CELLS, strict=False)
    }
    with pytest.raises(DarkroomError, match=r"prompt_id 'one' is 'a cat' in cell .* and 'a dog'"):
        chosen_pairs(stores, 4, 0, 0)


# The page ------------------------------------------------------------------------------------------------------------


def page(store: Store, folder: Path, num_pairs: int = 12, seed: int = 0, image_format: str = "png") -> Study:
    found = chosen(store, num_pairs, 3, seed)
    study = Study("Which?", tuple(RatedCell(cell_id, {}) for cell_id in IDS), found.pairs, image_format)
    write_page(study, found.rows, open_store(parse_spec(str(folder))), "")
    return study


def test_nothing_on_the_page_tells_where_an_image_is_from(store: Store, tmp_path: Path) -> None:
    study = page(store, tmp_path / "page")
    files = [path for path in (tmp_path / "page").rglob("*") if path.is_file()]
    images = [path for path in files if path.suffix == ".png"]
    secrets = [*IDS, *(cell_id[:8] for cell_id in IDS), "guidance", str(store.spec.uri)]
    secrets += [
        text for pair in study.pairs for side in (pair.left, pair.right) for text in (side.image_id, side.sha256)
    ]
    for path in files:
        assert not [secret for secret in secrets if secret.encode() in path.read_bytes() or secret in path.name], path
    assert len(images) == 2 * len(study.pairs)
    assert {path.name for path in images} == {
        f"{n + 1:05d}-{side}.png" for n in range(15) for side in ("left", "right")
    }
    assert not [path for path in images if Image.open(path).info]


def test_images_are_the_pixels_that_were_rendered(store: Store, known: dict[str, Record], tmp_path: Path) -> None:
    study = page(store, tmp_path / "page")
    for place, pair in enumerate(study.pairs):
        for side in ("left", "right"):
            stored = Image.open(io.BytesIO(image_bytes(store, known[getattr(pair, side).image_id]))).tobytes()
            assert Image.open(tmp_path / "page" / "images" / f"{place + 1:05d}-{side}.png").tobytes() == stored


def test_the_data_names_images_by_place_and_side_alone(store: Store, tmp_path: Path) -> None:
    study = page(store, tmp_path / "page")
    text = (tmp_path / "page" / "pairs.js").read_text()
    data = json.loads(text.partition("const study = ")[2].rstrip(";\n"))
    assert data.keys() == {"id", "question", "pairs"}
    assert data["pairs"][0] == {
        "prompt": study.pairs[0].prompt,
        "left": "images/00001-left.png",
        "right": "images/00001-right.png",
    }


def test_a_page_of_other_pairs_is_not_overwritten_and_the_same_is(store: Store, tmp_path: Path) -> None:
    page(store, tmp_path / "page")
    page(store, tmp_path / "page")
    with pytest.raises(DarkroomError, match=r"pairs\.js: there already, and of no page of these pairs"):
        page(store, tmp_path / "page", seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "index.html").write_text("mine")
    with pytest.raises(DarkroomError, match=r"index\.html: there already"):
        page(store, tmp_path / "mine")


def test_an_image_that_is_lost_is_named_with_its_remedy(tmp_path: Path) -> None:
    store = rendered(tmp_path / "run", ["a", "b"], CELLS)[0]
    lost = next(info.key for info in store.list("images/"))
    store.delete([lost])
    with pytest.raises(DarkroomError, match=r"its file is missing; bring it back with `.*darkroom repair run="):
        page(store, tmp_path / "page")
