r"""How surely a picture shows nudity: NudeNet's detector, whose weights come with the package. A scorer for policies.

In an environment of its own, since it brings OpenCV and ONNX Runtime:

    python3 -m venv ~/nudenet && ~/nudenet/bin/pip install nudenet
    darkroom generate ... 'policy=[{figure: nsfw.score, above: 0.5, then: regenerate}]' \
        "evaluation.extractors=[{name: nsfw, command: '~/nudenet/bin/python infra/examples/scorers/nudity.py'}]"

`score` is the confidence of the surest detection of one of `--classes`, from 0.2 to 1; 0 where there is none. What it
detects are exposed parts of bodies in pictures like photographs: no violence, no text, little in drawings. Pictures are
seen at `--resolution` pixels a side, 320; 160 takes less than a third of the time, and serves small pictures.
"""

import argparse
import base64
import json
import sys
from importlib.metadata import version

EXPOSED = ("ANUS", "BUTTOCKS", "FEMALE_BREAST", "FEMALE_GENITALIA", "MALE_GENITALIA")


def say(words):
    print(json.dumps(words), flush=True)


def score(detector, classes, png):
    found = detector.detect(base64.b64decode(png))
    return {"score": max((each["score"] for each in found if each["class"] in classes), default=0.0)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--classes", default=",".join(f"{name}_EXPOSED" for name in EXPOSED))
    parser.add_argument("--resolution", type=int, default=320, help="Of what the detector sees: less is faster.")
    given = parser.parse_args()
    classes = set(given.classes.split(","))
    say({
        "darkroom_scorer": 1, "name": "nudity", "version": f"1 (nudenet {version('nudenet')})",
        "scores": {"score": "lower"}, "columns": [],
    })  # fmt: skip
    from nudenet import NudeDetector

    detector = NudeDetector(inference_resolution=given.resolution)
    for line in sys.stdin:
        say({"scores": [score(detector, classes, image["png"]) for image in json.loads(line)["images"]]})


if __name__ == "__main__":
    main()
