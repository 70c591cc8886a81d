r"""Does a picture show the text that it was asked for? Read by PP-OCRv4, whose weights come with the package.

In an environment of its own, which Darkroom's packages do not touch:

    python3 -m venv ~/ocr && ~/ocr/bin/pip install rapidocr-onnxruntime
    darkroom evaluate run=<output.uri> \
        "extractors=[{name: ocr, command: '~/ocr/bin/python infra/examples/scorers/ocr_text.py --column text'}]"

`--column` is the column of the prompts that holds the text; a prompt without one has no score. `cer` is the character
error rate: the edit distance of what is read to what was asked for, over the latter's length. `exact_match` is 1 where
that is 0. Case, spaces and Unicode's forms of one character do not count.
"""

import argparse
import base64
import io
import json
import sys
import unicodedata
from importlib.metadata import version


def say(words):
    print(json.dumps(words), flush=True)


def normalised(text):
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())


def edit_distance(first, second):
    """Insertions, deletions and substitutions: Levenshtein 1966, by Wagner and Fischer's rows."""
    row = list(range(len(second) + 1))
    for number, one in enumerate(first, start=1):
        before, row[0] = row[0], number
        for place, other in enumerate(second, start=1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (one != other))
    return row[-1]


def read_text(engine, png):
    """Lines from the top, and of one line its parts from the left, as the detector sorts them."""
    import numpy
    from PIL import Image

    picture = numpy.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))
    found, _ = engine(numpy.ascontiguousarray(picture[..., ::-1]))  # it takes BGR
    return " ".join(text for _, text, _ in found or ())


def score(engine, wanted, png):
    if not isinstance(wanted, str) or not normalised(wanted):
        return None
    distance = edit_distance(normalised(read_text(engine, png)), normalised(wanted))
    return {"cer": distance / len(normalised(wanted)), "exact_match": float(distance == 0)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--column", default="text")
    column = parser.parse_args().column
    package = "rapidocr-onnxruntime"
    say({
        "darkroom_scorer": 1, "name": "ocr_text", "version": f"1 ({package} {version(package)})",
        "scores": {"exact_match": "higher", "cer": "lower"}, "columns": [column],
    })  # fmt: skip
    from rapidocr_onnxruntime import RapidOCR

    engine = RapidOCR()
    for line in sys.stdin:
        images = json.loads(line)["images"]
        say({"scores": [score(engine, image["columns"][column], image["png"]) for image in images]})


if __name__ == "__main__":
    main()
