r"""Soft-TIFA by a vision-language model behind an OpenAI-style chat endpoint. Needs nothing but Python 3.8.

    export OPENAI_API_KEY=...   # where the server asks for one; it is read from nowhere else
    darkroom evaluate run=<output.uri> "extractors=[{name: judge, batch_size: 8, command: 'python \
        infra/examples/scorers/vlm_judge.py --base-url http://localhost:8000/v1 --model Qwen/Qwen3-VL-8B-Instruct'}]"

`--column` holds a prompt's questions: a list, or its JSON text, of [question, answer] pairs, or of questions whose
answer is yes. A question's score is the probability of its answer as the first word that the model says, from the
token's alternatives (`top_logprobs`); of a server that gives none it is 1 where the model answers so, and else 0.
`soft_tifa` is the mean over a prompt's questions, `soft_tifa_gm` their geometric mean, which one failed question pulls
down (Hu et al. 2023; Kamath et al. 2025). A prompt without questions has no score.
"""

import argparse
import json
import math
import os
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

WORDS = "{question} Answer with one word."
PAUSE_S, TIMEOUT_S, AT_ONCE = 0.5, 120, 8
LEAST = 1e-6  # of a probability, in the geometric mean


def say(words):
    print(json.dumps(words), flush=True)


def questions_of(value):
    """[(question, answer)] of a column's cell; empty where there is none. Raises ValueError for what is no list."""
    if isinstance(value, str):
        value = json.loads(value)
    if not isinstance(value, (list, type(None))):
        raise ValueError("no list of questions")
    pairs = [(each, "yes") if isinstance(each, str) else tuple(each) for each in value or ()]
    if not all(len(pair) == 2 and all(isinstance(part, str) for part in pair) for pair in pairs):
        raise ValueError("questions are texts, or [question, answer]")
    return pairs


def word(text):
    return text.strip(" \t\n.,!\"'").casefold()


def probability(choice, answer):
    """Of the answer as the first word of a chat completion's choice."""
    tokens = (choice.get("logprobs") or {}).get("content") or []
    if not tokens or not tokens[0].get("top_logprobs"):
        return float(word(choice["message"]["content"]) == word(answer))
    found = [math.exp(each["logprob"]) for each in tokens[0]["top_logprobs"] if word(each["token"]) == word(answer)]
    return min(1.0, sum(found))


class Judge:
    def __init__(self, base_url, model, tries):
        self._url, self._model, self._tries = base_url.rstrip("/") + "/chat/completions", model, tries
        key = os.environ.get("OPENAI_API_KEY")
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}

    def ask(self, png, question, answer):
        picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}"}}
        content = [picture, {"type": "text", "text": WORDS.format(question=question)}]
        body = {
            "model": self._model, "messages": [{"role": "user", "content": content}], "temperature": 0,
            "max_tokens": 8, "logprobs": True, "top_logprobs": 20,
        }  # fmt: skip
        return probability(self._answered(json.dumps(body).encode())["choices"][0], answer)

    def _answered(self, body):
        for number in range(self._tries):
            try:
                request = urllib.request.Request(self._url, body, self._headers)
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code in (401, 403, 404):  # of every other image too: end, with the reason
                    sys.exit(f"{self._url}: HTTP {error.code}; check --base-url, --model and OPENAI_API_KEY")
                if error.code not in (408, 429) and error.code < 500:
                    raise  # this image's fault
                last = error
            except OSError as error:
                last = error
            time.sleep(PAUSE_S * 2**number)
        sys.exit(f"{self._url}: {last}, {self._tries} times; the same command goes on once the server answers")


def score(judge, pool, image, column):
    try:
        pairs = questions_of(image["columns"][column])
        found = list(pool.map(lambda pair: judge.ask(image["png"], *pair), pairs))
    except (ValueError, KeyError, OSError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    if not found:
        return None
    logs = [math.log(max(each, LEAST)) for each in found]
    return {"soft_tifa": sum(found) / len(found), "soft_tifa_gm": math.exp(sum(logs) / len(logs))}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--column", default="vqa_list")
    parser.add_argument("--tries", type=int, default=6)
    given = parser.parse_args()
    scores = {"soft_tifa": "higher", "soft_tifa_gm": "higher"}
    say({
        "darkroom_scorer": 1, "name": "vlm_judge", "version": f"1 ({given.model})", "scores": scores,
        "columns": [given.column],
    })  # fmt: skip
    judge = Judge(given.base_url, given.model, given.tries)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in sys.stdin:
            images = json.loads(line)["images"]
            say({"scores": [score(judge, pool, image, given.column) for image in images]})


if __name__ == "__main__":
    main()
