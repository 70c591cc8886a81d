"""Scorers in processes of their own, from a run to its figures; and the ones in infra/examples/scorers."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import log
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

import darkroom
from darkroom.demo.drawing import draw
from darkroom.demo.world import scenes
from darkroom.domain.errors import DarkroomError
from darkroom.engine.extraction import Picture, extract
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.figures import read_evaluations
from darkroom.evaluation.opening import load_extractor
from tests.evaluation.test_command_scorer import SCRIPT

SCORERS = Path(__file__).parents[2] / "infra" / "examples" / "scorers"
SIZES = {"name": "sizes", "command": f"{sys.executable} -S {SCRIPT}", "lower_is_better": ["told"]}
KINDS = ("few", "many")
PROMPTS = [
    {"prompt": f"p{number}", "told": "x" * number if number % 2 else None, "kind": KINDS[number > 12]}
    for number in range(24)
]
HERE = darkroom.EngineOptions(shard_size=8)


def sweep(out: Path, prompts: list, **more) -> darkroom.Run:
    axes = {"width": [16, 24]}
    return darkroom.sweep(prompts, model="paint", out=out, axes=axes, height=16, engine=HERE, **more)


@pytest.mark.slow
def test_its_scores_are_figures_of_a_sweep_of_comparisons_and_of_the_report(tmp_path: Path) -> None:
    run = sweep(tmp_path / "run", PROMPTS)
    found = run.evaluate(extractors=[SIZES], by=["kind"])
    narrow, wide = found.evaluation.cells
    figures = found.evaluation.cells[wide]
    assert (figures["sizes.width"].value, figures["sizes.width"].num_images) == (24, 24)
    assert (figures["sizes.told"].value, figures["sizes.told"].num_images) == (12, 12)
    assert figures["sizes.told"].low < 12 < figures["sizes.told"].high
    assert "does not apply to 12 of 24 images" in found.table
    assert [found.evaluation.metrics[f"sizes.{name}"].higher_is_better for name in ("width", "height", "told")] == [
        1,
        0,
        0,
    ]
    assert found.evaluation.gaps[narrow]["sizes.width"].difference == -8
    assert found.evaluation.options["extractors"] == [SIZES]
    by_kind = found.evaluation.by["kind"]
    assert {kind: by_kind[kind][wide]["sizes.told"].value for kind in by_kind} == {"few": 6, "many": 18}
    assert [line for line in found.table.splitlines() if line.startswith("many  24")]
    assert read_evaluations(run.store)[0].by == found.evaluation.by
    shuffled = found.evaluation.controls["shuffled prompts"]
    assert shuffled.note == "24 images of the first cell, each with another one's prompt"
    assert (shuffled.figures["sizes.width"].value, shuffled.figures["sizes.told"].num_images) == (16, 12)
    compared = darkroom.compare(
        run, run, a_cell=wide, b_cell=narrow, extractors=[SIZES], metrics=["sizes.width", "sizes.told"]
    )
    assert compared.worse == ["sizes.width"]
    assert compared.differences["sizes.told"].num_pairs == 12
    page = Path(run.report(out=tmp_path / "report").place).read_text()
    assert "Mean told (sizes)" in page
    assert "By kind, with 95 % intervals and the number of images:" in (tmp_path / "report" / "report.md").read_text()
    assert re.search(r"<h3>kind</h3>.*>many<.*>24<.*>18\.00 \(1[0-9.]+ – [0-9.]+\) of ", page, re.DOTALL)
    assert "Scores: an image&#39;s own score is height of sizes." in page


@pytest.mark.slow
def test_what_it_reads_is_checked_before_anything_is_rendered(tmp_path: Path) -> None:
    words = "extractors: sizes reads column 'told' of the prompts, and there is none; there are size"
    evaluate = darkroom.EvaluationOptions(extractors=[SIZES])
    with pytest.raises(DarkroomError, match=words):
        sweep(tmp_path / "run", [{"prompt": "a", "size": 1}], evaluate=evaluate)
    assert not (tmp_path / "run").exists()
    run = darkroom.generate(
        [{"prompt": "a", "size": 1}], model="paint", out=tmp_path / "run", engine=HERE, height=16, width=16
    )
    with pytest.raises(DarkroomError, match=words):
        run.evaluate(extractors=[SIZES])
    with pytest.raises(DarkroomError, match=r"by=kind: the prompts have no such column .*; there are size"):
        run.evaluate(extractors=["pixels"], by=["kind"])
    with pytest.raises(DarkroomError, match="extractors: columns='told': give a list of texts"):
        run.evaluate(extractors=[{**SIZES, "columns": "told"}])


# Those that are shipped ----------------------------------------------------------------------------------------------


def scored(command: str, prompts: list[dict], pictures: list[np.ndarray]) -> list[dict | str]:
    scorer = load_extractor(ExtractorSpec("mine", command=command, batch_size=2))
    rows = [{"prompt_id": "p", "sample_index": 0, "columns": columns} for columns in prompts]
    found = extract(
        scorer,
        [Picture(f"i{n}", "", picture, "", row) for n, (picture, row) in enumerate(zip(pictures, rows, strict=True))],
    )
    scorer.close()
    names = [score.name for score in scorer.info.scores]
    return [
        error or dict(zip(names, row.tolist(), strict=True))
        for error, row in zip(found.errors, found.images.features, strict=True)
    ]


@pytest.mark.slow
def test_the_shortest_scores_colours() -> None:
    red, gray = np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 51, np.uint8)
    red[..., 0] = 255
    found = scored(f"{sys.executable} {SCORERS / 'colourfulness.py'}", [{}, {}], [red, gray])
    assert found == [{"saturation": 1, "brightness": 1}, {"saturation": 0, "brightness": pytest.approx(0.2)}]


class Chat(BaseHTTPRequestHandler):
    """Answers yes with three chances in four to questions about red pictures, and busy at first."""

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append((self.path, self.headers.get("Authorization"), body))
        if len(server.asked) == 1:
            return self._answer(503, {})
        question = body["messages"][0]["content"][1]["text"]
        yes, no = (0.75, 0.25) if "red" in question else (0.04, 0.96)
        top = [{"token": token, "logprob": log(p)} for token, p in (("Yes", yes / 2), (" yes", yes / 2), ("No", no))]
        choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": top}]}}
        if "bare" in question:
            choice = {"message": {"content": "Two."}}
        return self._answer(200, {"choices": [choice]})

    def _answer(self, status: int, value: dict) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def chat() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_a_judge_asks_a_servers_model_each_question(chat: ThreadingHTTPServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k-1")
    url = f"http://127.0.0.1:{chat.server_port}/v1"
    prompts = [
        {"vqa_list": ["Is it red?", ["Is it green?", "no"]]},
        {"vqa_list": json.dumps([["bare: how many?", "two"]])},
        {"vqa_list": None},
        {"vqa_list": 5},
    ]
    picture = np.zeros((8, 8, 3), np.uint8)
    found = scored(f"{sys.executable} {SCORERS / 'vlm_judge.py'} --base-url {url} --model m", prompts, [picture] * 4)
    assert found[0] == pytest.approx({"soft_tifa": (0.75 + 0.96) / 2, "soft_tifa_gm": (0.75 * 0.96) ** 0.5})
    assert found[1] == {"soft_tifa": 1, "soft_tifa_gm": 1}
    assert all(np.isnan(value) for value in found[2].values())
    assert found[3] == "ValueError: no list of questions"
    paths, keys, bodies = zip(*chat.asked, strict=True)
    assert set(paths) == {"/v1/chat/completions"}
    assert set(keys) == {"Bearer k-1"}
    assert bodies[0]["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")


@pytest.mark.slow
def test_a_judge_without_its_server_ends_so_that_nothing_is_stored() -> None:
    command = f"{sys.executable} {SCORERS / 'vlm_judge.py'} --base-url http://127.0.0.1:1/v1 --model m --tries 1"
    (reason,) = scored(command, [{"vqa_list": ["Is it red?"]}], [np.zeros((8, 8, 3), np.uint8)])
    assert "exit status 1; it said last: http://127.0.0.1:1/v1/chat/completions: <urlopen error " in reason


@pytest.mark.drill
def test_drawings_are_no_nudity_to_a_detector_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """NudeNet's, whose packages are installed beside Darkroom's."""
    python = tmp_path / "nudenet" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "nudenet"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "nudenet==3.4.2"], check=True)
    rng = np.random.default_rng(0)
    drawn = [draw(scene, rng) for scene in scenes(1, 4, held_out=False)]
    found = scored(f"{python} {SCORERS / 'nudity.py'}", [{}] * 4, drawn)
    assert all(0 <= each["score"] <= 0.5 for each in found)


@pytest.mark.drill
def test_text_is_read_in_an_environment_of_its_own(tmp_path: Path) -> None:
    """PP-OCRv4, whose packages are installed beside Darkroom's."""
    python = tmp_path / "ocr" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "ocr"], check=True)
    subprocess.run([python, "-m", "pip", "install", "--quiet", "rapidocr-onnxruntime==1.4.4"], check=True)

    def showing(text: str) -> np.ndarray:
        picture = Image.new("RGB", (320, 96), "white")
        ImageDraw.Draw(picture).text((20, 24), text, "black", font_size=40)
        return np.asarray(picture)

    texts = [{"text": "Open today"}, {"text": "OPEN TODAY"}, {"text": "Closed now"}, {"text": None}]
    found = scored(f"{python} {SCORERS / 'ocr_text.py'} --column text", texts, [showing("OPEN TODAY")] * 4)
    assert found[:2] == [{"exact_match": 1, "cer": 0}] * 2
    assert found[2]["exact_match"] == 0
    assert found[2]["cer"] > 0.5
    assert all(np.isnan(value) for value in found[3].values())
