"""Asks a server for answers by OpenAI's chat completions API, a few at once.

POST /chat/completions (https://platform.openai.com/docs/api-reference/chat), which vLLM, SGLang, llama.cpp and Ollama
serve too. `seed` is passed on; whether equal seeds give equal answers is the server's own affair, and no promise.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.rendering.http_calls import Reply
from darkroom.rendering.openai_server import OpenAIServer, Unanswered
from darkroom.rendering.server_access import ServerAccess
from darkroom.rewriting.questions import FAILED, REFUSED, Answer, Decoding, Question, read_answer

PARAMETERS = ("temperature", "top_p", "max_tokens", "max_completion_tokens", "seed")  # that not every server takes


class ChatApi:
    """Answers of one model at one server."""

    def __init__(
        self,
        access: ServerAccess,
        model: str,
        instruction: str,
        decoding: Decoding,
        parameters: Sequence[str],
        concurrency: int,
    ) -> None:
        """`parameters`: those of PARAMETERS that are sent. Raises DarkroomError for no address, key or parameter."""
        access.check()
        unknown = next((name for name in parameters if name not in PARAMETERS), None)
        if unknown is not None:
            raise DarkroomError(f"rewrite.parameters: {unknown!r} is none; give some of {', '.join(PARAMETERS)}")
        self._server, self._model, self._instruction = OpenAIServer(access), model, instruction
        self._decoding, self._parameters, self._concurrency = decoding, parameters, concurrency
        self.name = f"{model} at {self._server.host}"
        self.notes = ["what its seeds promise is the server's affair; answers that are there are kept"]
        self.identity: Mapping[str, object] = {
            "kind": "openai",
            "base_url": access.base_url.rstrip("/"),
            "model": model,
            "parameters": sorted(parameters),
            **vars(decoding),
        }

    def open(self) -> None:
        self._server.check()

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """As they come."""
        pool = ThreadPoolExecutor(self._concurrency, "rewrite")
        asked = {pool.submit(self._answer, question): question for question in questions}
        try:
            for future in as_completed(asked):
                yield asked[future], future.result()
        finally:  # who stops early, as by Ctrl-C, does not wait for those under way
            pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, question: Question) -> Answer:
        reply = self._server.ask("chat/completions", self._body(question))
        if isinstance(reply, Unanswered):
            status, is_rejected = FAILED if reply.is_failure else REFUSED, not (reply.is_failure or reply.is_filtered)
            return Answer(status, error=reply.error, is_rejected=is_rejected)
        return _answer_of(reply, self._decoding.max_new_tokens)

    def _body(self, question: Question) -> dict[str, Any]:
        decoding = self._decoding
        values = {
            "temperature": decoding.temperature,
            "top_p": decoding.top_p,
            "max_tokens": decoding.max_new_tokens,
            "max_completion_tokens": decoding.max_new_tokens,
            "seed": question.seed,
        }
        messages = [
            {"role": "system", "content": self._instruction},
            {"role": "user", "content": question.text},
        ]
        return {"model": self._model, "messages": messages, **{name: values[name] for name in self._parameters}}


def _answer_of(reply: Reply, max_new_tokens: int) -> Answer:
    """Of the first choice; a reply without one is a server that failed."""
    try:
        choice = reply.json()["choices"][0]
        message, reason = choice["message"], choice.get("finish_reason")
        said, refusal = message.get("content") or "", message.get("refusal")
    except (ValueError, LookupError, TypeError, AttributeError):
        return Answer(FAILED, error="the reply has no choices[0].message")
    if refusal or reason == "content_filter":
        return Answer(REFUSED, error=f"refused by the server: {' '.join(str(refusal or reason).split())[:200]}")
    if not isinstance(said, str):
        return Answer(FAILED, error="the reply's content is no text")
    return read_answer(said, reason == "length", max_new_tokens)
