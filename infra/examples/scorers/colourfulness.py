r"""The shortest scorer: how colourful and how bright a picture is. Needs Pillow, and nothing of Darkroom.

darkroom evaluate run=<output.uri> \
    "extractors=[{name: colours, command: 'python infra/examples/scorers/colourfulness.py'}]"
"""

import base64
import io
import json
import sys

from PIL import Image, ImageStat


def say(words):
    print(json.dumps(words), flush=True)


say(
    {
        "darkroom_scorer": 1,
        "name": "colours",
        "version": "1",
        "scores": {"saturation": "higher", "brightness": "higher"},
    }
)
for line in sys.stdin:
    scores = []
    for image in json.loads(line)["images"]:
        picture = Image.open(io.BytesIO(base64.b64decode(image["png"])))
        _, saturation, brightness = ImageStat.Stat(picture.convert("HSV")).mean
        scores.append({"saturation": saturation / 255, "brightness": brightness / 255})
    say({"scores": scores})
