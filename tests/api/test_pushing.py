"""A dataset that was exported, uploaded to a hub over HTTP by huggingface_hub itself."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import darkroom
from darkroom.api.run import Run
from darkroom.domain.errors import DarkroomError
from darkroom.exporting.hub import Uploaded
from tests.exporting.fake_hub import TOKEN, Hub, Repo, served
from tests.exporting.runs import committed, files
from tests.jobs.helpers import run_here


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return committed(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # files go by Git LFS, which every hub speaks
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with served() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


class Stopped(Exception):
    pass


def test_it_is_uploaded_once_and_goes_on_where_it_was_cut_off(run: Run, hub: Hub, tmp_path: Path) -> None:
    run.export(tmp_path / "set", layout="webdataset", shard_size=5, license="mit")

    def stop(event: object) -> None:
        if isinstance(event, Uploaded):
            raise Stopped

    with pytest.raises(Stopped):
        darkroom.push(tmp_path / "set", "ann/circles", progress=stop)
    repo = hub.repos["ann/circles"]
    assert repo.private
    assert {*repo.files} == {f"{number:06d}.tar" for number in range(8)}
    found = darkroom.push(tmp_path / "set", "ann/circles")
    assert (found.num_before, found.num_files, found.is_private) == (8, 12, True)
    assert found.url == f"{hub.url}/datasets/ann/circles"
    assert repo.files == files(tmp_path / "set")
    assert hub.num_uploads == 8
    assert len(repo.commits) == 2
    again = darkroom.push(tmp_path / "set", "ann/circles")
    assert (again.num_before, again.num_bytes, len(repo.commits)) == (12, 0, 2)
    run.export(tmp_path / "set", layout="webdataset", shard_size=5, license="cc0-1.0")  # the card alone is another
    assert darkroom.push(tmp_path / "set", "ann/circles").num_before == 9
    assert repo.files == files(tmp_path / "set")
    assert hub.num_uploads == 8


@pytest.mark.slow
def test_what_is_not_its_own_is_refused_or_replaced(run: Run, hub: Hub, tmp_path: Path) -> None:
    hub.repos["ann/old"] = Repo(True, {"data/train-00000-of-00001.parquet": b"old", ".gitattributes": b"*"})
    run.export(tmp_path / "set", shard_size=20)
    with pytest.raises(DarkroomError, match=r"train-00000-of-00001.parquet there: not of this dataset"):
        darkroom.push(tmp_path / "set", "ann/old")
    assert len(hub.repos["ann/old"].files) == 2
    darkroom.push(tmp_path / "set", "ann/old", replace=True)
    assert hub.repos["ann/old"].files == {**files(tmp_path / "set"), ".gitattributes": b"*"}
    hub.repos["ann/mine"] = Repo(True, {"README.md": b"# Mine"})
    with pytest.raises(DarkroomError, match=r"README\.md there: not of this dataset"):
        darkroom.push(tmp_path / "set", "ann/mine")
    assert hub.repos["ann/mine"].files == {"README.md": b"# Mine"}
    darkroom.push(tmp_path / "set", "ann/mine", replace=True)
    assert hub.repos["ann/mine"].files == files(tmp_path / "set")
    hub.repos["ann/open"] = Repo(False)
    with pytest.raises(DarkroomError, match="the repository is public; give private=false"):
        darkroom.push(tmp_path / "set", "ann/open")
    assert not hub.repos["ann/open"].files
    darkroom.push(tmp_path / "set", "ann/open", private=False)
    assert hub.repos["ann/open"].files == files(tmp_path / "set")


def test_what_cannot_be_uploaded_is_refused_before_it_is(
    run: Run, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run.export(tmp_path / "set", shard_size=20)
    with pytest.raises(DarkroomError, match="no repository of the hub; give its owner and name"):
        darkroom.push(tmp_path / "set", "circles")
    with pytest.raises(DarkroomError, match="no SHA256SUMS lies there"):
        darkroom.push(run.uri, "ann/x")
    monkeypatch.setenv("HF_TOKEN", "hf_notOfThisHub12")
    with pytest.raises(DarkroomError, match=r"the hub refuses it \(401\); HF_TOKEN needs the right") as caught:
        darkroom.push(tmp_path / "set", "ann/x")
    assert "hf_not" not in str(caught.value)
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(DarkroomError, match="HF_TOKEN is not set"):
        darkroom.push(tmp_path / "set", "ann/x")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    first = next((tmp_path / "set" / "data").iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"x")
    with pytest.raises(DarkroomError, match=f"{first.name}: not what SHA256SUMS says"):
        darkroom.push(tmp_path / "set", "ann/y")
    assert not hub.repos["ann/y"].files
    first.unlink()
    with pytest.raises(DarkroomError, match=f"{first.name} is missing"):
        darkroom.push(tmp_path / "set", "ann/y")


def test_the_job_says_where_it_is(run: Run, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run.export(tmp_path / "set", shard_size=20)
    assert run_here("push", f"dataset={tmp_path / 'set'}", "repo_id=ann/circles") == 0
    said = capsys.readouterr().out
    assert re.search(rf"place:  {hub.url}/datasets/ann/circles \(private\)", said), said
