"""Addresses with credentials are known in whatever they are part of; those without are left as they are."""

import pickle

import pytest

from darkroom.domain.errors import DarkroomError, has_credentials, redacted
from darkroom.storage.store import StoreError

SECRET = "s3cr3t0123"
WITH = [
    f"https://user:{SECRET}@host/prompts.csv",
    f"https://{SECRET}@host/prompts.csv",
    f"http://user:{SECRET}@127.0.0.1:4566",
    f"https://user:pass/{SECRET}@host/prompts.csv",
    f"https://user:p@{SECRET}@host",
    f"ray://user:{SECRET}@10.0.0.1:10001",
    f"ray://10.0.0.1:10001?token={SECRET}",
    f"user:{SECRET}@10.0.0.1:6379",
    f"s3://AKIA:{SECRET}@bucket/run#0123456789abcdef",
    f"https://bucket.s3.amazonaws.com/x.csv?X-Amz-Algorithm=a&X-Amz-Signature={SECRET}&X-Amz-Date=1",
    f"https://bucket.s3.amazonaws.com/x.csv?AWSAccessKeyId=A&Signature={SECRET}",
    f"https://account.blob.core.windows.net/x.csv?sv=1&sig={SECRET}",
    f"https://storage.googleapis.com/b/x?x-goog-signature={SECRET}",
    f"https://host/x?API_KEY={SECRET}",
    f"HTTPS://USER:{SECRET}@HOST/X",
    f"postgresql+asyncpg://user:{SECRET}@host/db",
]
WITHOUT = [
    "s3://bucket/prefix/run#0123456789abcdef",
    "http://127.0.0.1:4566",
    "https://host:8080/a@b.csv",
    "file:///home/me@work/x.csv",
    "/home/me@work/a:b.csv",
    "photos/*@2x.jpg",
    "a red circle, 16:9 @ night, seed=3&token",
    "runs/key=value/x?",
    "stabilityai/sdxl-turbo",
    "darkroom.evaluation.sharpness:make",
    "10.0.0.1:6379",
    "author?design=1&width=2",
]


@pytest.mark.parametrize("address", WITH)
def test_credentials_are_found_and_hidden(address: str) -> None:
    assert has_credentials(address)
    for text in (address, f"{address}: cannot be reached", f"see '{address}', or [{address}]", f"/cwd/{address}"):
        assert SECRET not in redacted(text)
        assert redacted(redacted(text)) == redacted(text)
    assert not has_credentials(redacted(address).replace("***@", ""))


@pytest.mark.parametrize("address", WITHOUT)
def test_what_has_none_is_left_as_it_is(address: str) -> None:
    assert not has_credentials(address)
    assert redacted(address) == address


@pytest.mark.parametrize(
    "token",
    [
        "hf_abcdefghijklmnop",
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghij",
        "-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----",
    ],
)
def test_tokens_of_known_shapes_are_hidden(token: str) -> None:
    assert token not in redacted(f"model.repo_id={token} is no model")
    assert "MHcC" not in redacted(token)


@pytest.mark.parametrize("kind", [DarkroomError, StoreError])
def test_no_error_repeats_them(kind: type[Exception]) -> None:
    error = kind(f"{WITH[0]}: gone")
    assert str(error) == "https://***@host/prompts.csv: gone"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
