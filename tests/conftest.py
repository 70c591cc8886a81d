"""What every room's tests share: dummy credentials, and one S3 server and one tiny model of a kind a session."""

import gc
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import CREDENTIALS, make_bucket, moto_server

os.environ.update(CREDENTIALS)
# How long an example takes says how busy the machine is, and nothing of what is tested.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--drill", action="store_true", help="also run what takes minutes: `make drill`, `make infra`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out drills, but for who asks for them."""
    if config.getoption("--drill"):
        return
    drills = [item for item in items if item.get_closest_marker("drill")]
    config.hook.pytest_deselected(items=drills)
    items[:] = [item for item in items if not item.get_closest_marker("drill")]


_num_frozen = 0  # modules whose objects are out of the collector's sight


def pytest_runtest_logstart() -> None:
    """Take what libraries have loaded out of the garbage collector's sight, where there is more of it than before.

    It is most of what lives, and each full collection, such as the one before each load of a model, looks at all.
    """
    global _num_frozen
    if len(sys.modules) > _num_frozen + 100:
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        _num_frozen = len(sys.modules)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with moto_server() as url:
        make_bucket(url, "bucket")
        yield url


@pytest.fixture(scope="session")
def make_cache(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Makes a user's cache, and gives Darkroom's part of it: empty, but for what OpenVINO compiled in this session.

    That takes seconds a model, and is found by all that it depends on.
    """
    compiled = tmp_path_factory.mktemp("openvino")

    def make(home: Path) -> Path:
        folder = home / "darkroom"
        folder.mkdir(parents=True)
        (folder / "openvino").symlink_to(compiled)
        return folder

    return make


@pytest.fixture
def own_cache(tmp_path: Path, make_cache: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Darkroom's part of this test's cache at `tmp_path / "cache"`, with no certificate of another test or a person."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_cache(tmp_path / "cache")


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A name of `every_family.MODELS` -> its folder, made once a session: copy it before you write to it."""
    made: dict[str, Path] = {}

    def folder(name: str) -> Path:
        if name not in made:
            from tests.rendering.every_family import MODELS  # with torch

            made[name] = MODELS[name](tmp_path_factory.mktemp(name) / name)
        return made[name]

    return folder
