"""Files of videos: equal bytes again, frames back, and what is no video."""

import io

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.runs import videos
from darkroom.runs.encoding import decode, decode_all
from darkroom.runs.videos import CODECS, VIDEO_FORMATS, Shown, encode_video

pytest.importorskip("av", reason="needs the optional package av")

NUM_FRAMES = 9
SHOWN = Shown(8, "a comment 蓝", "<x:xmpmeta/>")


def quality_of(name: str) -> int:
    return CODECS[name].crf if name in CODECS else 90


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    """Smooth colours that move, which 4:2:0 keeps."""
    y, x = np.mgrid[0:48, 0:64]
    shifts = [np.stack([2 * y + 40, x + 8 * place + 60, 200 - 2 * y], axis=-1) for place in range(NUM_FRAMES)]
    return np.stack(shifts).astype(np.uint8)


@pytest.mark.parametrize("name", VIDEO_FORMATS)
def test_frames_come_back_of_equal_bytes(frames: np.ndarray, name: str) -> None:
    data = encode_video(frames, name, quality_of(name), SHOWN)
    assert all(encode_video(frames, name, quality_of(name), SHOWN) == data for _ in range(3))
    assert videos.is_video(data)
    assert videos.num_frames(data) == NUM_FRAMES
    found = decode_all(data)
    assert found.shape == frames.shape
    apart = np.abs(found.astype(int) - frames)
    assert apart.mean() < 0.01 if name == "zip" else apart.mean() < 4
    assert abs((found.astype(int) - frames).mean()) < 1, "no colour comes out darker"
    assert np.array_equal(decode(data), found[NUM_FRAMES // 2])
    assert np.array_equal(np.stack(videos.some_frames(data, 3)), found[[0, 4, 8]])
    assert (b"x:xmpmeta" in data) == (name in ("mp4", "webp", "zip"))


def test_a_file_says_its_rate_and_its_colours(frames: np.ndarray) -> None:
    import av

    for name in CODECS:
        with av.open(io.BytesIO(encode_video(frames, name, 20, SHOWN))) as container:
            [stream] = container.streams.video
            said = stream.codec_context
            assert stream.average_rate == SHOWN.fps
            assert (int(said.colorspace), int(said.color_range), int(said.color_trc)) == (1, 1, 13)
            told = {key.lower(): value for key, value in container.metadata.items()}
            assert told["comment"] == SHOWN.comment
            assert "creation_time" not in told
            assert not any(digit.isdigit() for digit in told.get("encoder", "")), "no version of a library"


def test_x264_goes_without_its_macroblock_tree(frames: np.ndarray) -> None:
    """With it, of 24 frames of 240x416 pixels encoded eight times, some had other bytes in one run of two."""
    assert b" mbtree=0 " in encode_video(frames, "mp4", 18, SHOWN), "as the encoder says itself in the stream"


@pytest.mark.parametrize("name", VIDEO_FORMATS)
def test_a_file_that_broke_off_is_named(frames: np.ndarray, name: str) -> None:
    data = encode_video(frames, name, quality_of(name), SHOWN)
    cut = data[: len(data) * 2 // 3]
    if name == "webm":  # a stream, of which the frames that are there can be read
        assert 0 < videos.num_frames(cut) < NUM_FRAMES
        return
    with pytest.raises(DarkroomError, match="not readable as a video"):
        decode_all(cut)


def test_evenly_spaced_places_hold_both_ends() -> None:
    assert videos.evenly_spaced(9, 3) == [0, 4, 8]
    assert videos.evenly_spaced(81, 8)[::7] == [0, 80]
    assert videos.evenly_spaced(5, 8) == [0, 1, 2, 3, 4]
    assert videos.evenly_spaced(5, 1) == [2]
