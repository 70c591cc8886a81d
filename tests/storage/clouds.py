"""Servers that speak Google's and Azure's languages on loopback.

Azure's is Azurite (`npm install azurite`), found on the path or by the variable AZURITE. No emulator of Google Cloud
Storage that was tried takes the XML calls of obstore (fake-gcs-server and gcp-storage-emulator refuse its PUT), so
these are translated for a real S3 server: conditions on generations, metadata, and a 404 for what is deleted twice.
"""

import base64
import hashlib
import hmac
import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

from tests.servers import FaultyProxy, free_port, wait_for

AZURE_ACCOUNT = {  # the one that every Azurite knows
    "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
    "AZURE_STORAGE_ACCOUNT_KEY": (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    ),
}
_ANY_SIGNATURE = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
_GOOGLE_ACCOUNT = {"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": True}


class GoogleDialect(FaultyProxy):
    """Google's XML interface in front of an S3 server. A generation is a number made of the ETag."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self.ignored = ""  # header
        self._etags = {"1": f'"{"0" * 32}"'}  # by generation

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list, bytes]:
        asked = dict(
            self._asked(name.lower(), value) for name, value in headers.items() if name.lower() != self.ignored
        )
        asked["authorization"] = _ANY_SIGNATURE
        path = path.replace("%2F", "/")
        if method == "DELETE" and super().pass_on("HEAD", path, {"authorization": _ANY_SIGNATURE}, b"")[0] == 404:
            return 404, [], b"<Error><Code>NoSuchKey</Code></Error>"
        status, found, data = super().pass_on(method, path, asked, body)
        told = [(name.lower().replace("x-amz-meta-", "x-goog-meta-"), value) for name, value in found]
        etag = dict(told).get("etag")
        if etag:
            generation = str(int(hashlib.md5(etag.encode()).hexdigest()[:15], 16))
            self._etags[generation] = etag
            told.append(("x-goog-generation", generation))
        return status, told, data

    def _asked(self, name: str, value: str) -> tuple[str, str]:
        if name == "x-goog-if-generation-match":
            return ("if-none-match", "*") if value == "0" else ("if-match", self._etags[value])
        return name.replace("x-goog-meta-", "x-amz-meta-"), value


def google_account(folder: Path) -> dict[str, str]:
    """The environment of somebody whose requests need no token."""
    path = folder / "account.json"
    path.write_text(json.dumps(_GOOGLE_ACCOUNT))
    return {"GOOGLE_SERVICE_ACCOUNT": str(path)}


def azurite() -> str | None:
    """The program, where it is installed."""
    return os.environ.get("AZURITE") or shutil.which("azurite-blob")


@contextmanager
def azurite_server(program: str) -> Iterator[str]:
    port = free_port()
    command = [program, "--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--blobPort", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}/{AZURE_ACCOUNT['AZURE_STORAGE_ACCOUNT_NAME']}"
    finally:
        process.kill()
        process.wait()


def make_container(endpoint_url: str, name: str) -> None:
    """By Azure's shared key: https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key."""
    host, account = endpoint_url.removeprefix("http://").split("/")
    date, version = formatdate(usegmt=True), "2021-08-06"
    resource = f"/{account}/{account}/{name}\nrestype:container"
    text = f"PUT{chr(10) * 12}x-ms-date:{date}\nx-ms-version:{version}\n{resource}"
    key = base64.b64decode(AZURE_ACCOUNT["AZURE_STORAGE_ACCOUNT_KEY"])
    signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    headers = {"x-ms-date": date, "x-ms-version": version, "Authorization": f"SharedKey {account}:{signature}"}
    connection = http.client.HTTPConnection(host, timeout=30)
    connection.request("PUT", f"/{account}/{name}?restype=container", headers={**headers, "Content-Length": "0"})
    assert connection.getresponse().status == 201
    connection.close()
