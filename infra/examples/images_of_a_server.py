"""Ask a server of OpenAI's images API for images: what they cost, what is refused, and no promise about seeds.

python infra/examples/images_of_a_server.py [folder]

The server is a small one of this script's own, so that no key and no network are needed. It draws a disc of the colour
that a prompt names somewhere, and refuses knives.
"""

import base64
import io
import json
import random
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image, ImageColor, ImageDraw

import darkroom


class Images(BaseHTTPRequestHandler):
    """POST /v1/images/generations: {"prompt": ..., "size": "64x64"} to {"data": [{"b64_json": ...}]}."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "knife" in asked["prompt"]:
            self._answer(400, {"error": {"code": "moderation_blocked", "message": "the policy allows no knives"}})
        else:
            self._answer(200, {"data": [{"b64_json": base64.b64encode(drawn(**asked)).decode()}]})

    def _answer(self, status: int, value: dict) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is printed of single requests."""


def drawn(prompt: str, size: str, **_: object) -> bytes:
    """A PNG file."""
    width, height = map(int, size.split("x"))
    colour = next((word for word in prompt.split() if word in ImageColor.colormap), "gray")
    x, y, radius = random.uniform(0.3, 0.7) * width, random.uniform(0.3, 0.7) * height, min(width, height) / 4
    picture = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(picture).ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


if __name__ == "__main__":
    out = sys.argv[1] if len(sys.argv) > 1 else "runs/examples/server"
    server = ThreadingHTTPServer(("127.0.0.1", 0), Images)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/v1"
    # The revision says which weights the server has, so that its address may change and the run goes on.
    model = darkroom.ModelRef(
        "discs",
        revision="1",
        make="darkroom.rendering.openai_images:make",
        options={"base_url": address, "sizes": "64x64,96x64", "price": 0.04},
    )
    prompts = ["a red disc", "a teal disc", "a knife", {"prompt": "a wide orange disc", "width": 96}]
    run = darkroom.generate(prompts, model=model, out=out)
    print(run.records[["prompt", "width", "status", "is_seeded", "render_cost", "error"]].to_string())
    print("cost:", run.records["render_cost"].sum())
    print("the page:", run.report().place)
    server.shutdown()
