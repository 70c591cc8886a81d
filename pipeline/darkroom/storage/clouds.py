"""Clients of S3, Google Cloud Storage and Azure Blob Storage, and Arrow's file system of S3.

obstore makes every request and tries each once, so that `retry.py` makes and counts every retry. botocore only finds
Amazon's credentials and endpoint, so that profiles, SSO logins, assumed roles and `~/.aws/config` hold as they do for
the `aws` command. Google's and Azure's chains of credentials are obstore's.
"""

import base64
import json
import logging
import os
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from obstore.store import AzureStore, GCSStore, S3Store

from darkroom.domain.errors import DarkroomError
from darkroom.storage.retry import CredentialsError
from darkroom.storage.store import StoreSpec, checked_endpoint, split_address

if TYPE_CHECKING:
    from botocore.session import Session
    from pyarrow.fs import FileSystem

Client = S3Store | GCSStore | AzureStore

NAMES = {"s3": "Amazon S3", "gs": "Google Cloud Storage", "az": "Azure Blob Storage"}
_WHOLE_REQUEST = timedelta(days=1)  # the read timeout is what ends a request that stands still
RENEWAL_CHECK = timedelta(minutes=1)  # botocore renews what expires within 10 minutes, where it is asked
_LOOKUP_S = 10.0


def open_client(spec: StoreSpec, connect_timeout_s: float, read_timeout_s: float, region: str | None = None) -> Client:
    """A client that tries once. `region` is where the bucket is found to be, where the user's settings say otherwise.

    `read_timeout_s` counts without a byte received, so sending a body must end within it. Raises CredentialsError.
    """
    scheme, bucket, prefix = split_address(spec.uri)
    options: dict[str, Any] = {
        "connect_timeout": timedelta(seconds=connect_timeout_s),
        "read_timeout": timedelta(seconds=read_timeout_s),
        "timeout": _WHOLE_REQUEST,
    }
    once: dict[str, Any] = {"prefix": prefix or None, "retry_config": {"max_retries": 0}}
    if scheme == "s3":
        return _s3_client(bucket, spec.endpoint_url, region, options, once)
    if spec.endpoint_url and spec.endpoint_url.startswith("http:"):
        options["allow_http"] = True
    if scheme == "gs":
        _check_google_credentials()
        place = {"base_url": spec.endpoint_url} if spec.endpoint_url else {}
        return GCSStore(bucket, config=place, client_options=options, **once)  # type: ignore[arg-type]
    _check_azure_key()
    place = {"endpoint": spec.endpoint_url} if spec.endpoint_url else {}
    return AzureStore(bucket, config=place, client_options=options, **once)  # type: ignore[arg-type]


def _check_google_credentials() -> None:
    """Raises DarkroomError for a named file of credentials that cannot serve, of which the client says nothing."""
    name = "GOOGLE_APPLICATION_CREDENTIALS"
    path = os.environ.get(name)
    if not path:
        return
    try:
        is_usable = bool(json.loads(Path(path).read_text("utf-8")).get("type"))
    except OSError as error:
        raise DarkroomError(f"{name}={path}: the file cannot be read ({error.strerror}); name another one") from error
    except (ValueError, AttributeError):
        is_usable = False
    if not is_usable:
        raise DarkroomError(f"{name}={path}: no JSON with the credentials' type; make the file anew, as gcloud does")


def _check_azure_key() -> None:
    """Raises DarkroomError, without repeating it, for a key that is none."""
    name = "AZURE_STORAGE_ACCOUNT_KEY"
    try:
        base64.b64decode(os.environ.get(name, ""), validate=True)
    except ValueError:
        raise DarkroomError(f"{name} is not in base64; copy the account's key anew") from None


def _s3_client(
    bucket: str, endpoint_url: str | None, region: str | None, options: dict[str, Any], once: dict[str, Any]
) -> S3Store:
    # Its debug lines hold session tokens and signatures; a run that logs everything must not log those.
    logging.getLogger("botocore").setLevel(logging.INFO)
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        session = Session()
        region = region or session.get_config_variable("region") or "us-east-1"
        given = _s3_given_endpoint(session, endpoint_url)
        url, is_virtual = (given, False) if given else _amazons_endpoint(session, bucket, region)
        if url.startswith("http:"):
            options = options | {"allow_http": True}
        elif ca_bundle := session.get_config_variable("ca_bundle"):
            options = options | {"root_certificate": Path(ca_bundle).read_bytes()}
        provider = _s3_credentials(session)
    except BotoCoreError as error:
        raise CredentialsError(type(error).__name__) from None
    return S3Store(
        bucket,
        region=region,
        endpoint=url,
        aws_endpoint_url_s3=url,  # or one from the environment would win
        virtual_hosted_style_request=is_virtual,
        # Amazon asks for one where objects are locked; others may not know them.
        config={} if given else {"checksum_algorithm": "SHA256"},
        credential_provider=provider,
        client_options=options,  # type: ignore[arg-type]
        **once,
    )


def _s3_credentials(session: "Session") -> Any:
    """Asks the user's chain anew after a minute: what botocore has renewed is used before what it replaces expires."""
    from obstore.auth.boto3 import Boto3CredentialProvider

    if session.get_credentials() is None:
        raise CredentialsError
    return Boto3CredentialProvider(session, ttl=RENEWAL_CHECK)


def _s3_given_endpoint(session: "Session", endpoint_url: str | None) -> str | None:
    """The command's, or what the environment and `~/.aws/config` say, as boto3 reads them."""
    from botocore.configprovider import ConfiguredEndpointProvider

    configured = ConfiguredEndpointProvider(session.full_config, session.get_scoped_config(), "s3")
    return endpoint_url or checked_endpoint(configured.provide(), "AWS_ENDPOINT_URL, or endpoint_url in ~/.aws/config")


def server_of(spec: StoreSpec) -> str:
    """For people: the endpoint that is given, or configured as for `open_client`, or the cloud's name."""
    scheme = split_address(spec.uri)[0]
    if spec.endpoint_url or scheme != "s3":
        return spec.endpoint_url or NAMES[scheme]
    from botocore.exceptions import BotoCoreError
    from botocore.session import Session

    try:
        return _s3_given_endpoint(Session(), None) or NAMES[scheme]
    except BotoCoreError:
        return NAMES[scheme]


def _amazons_endpoint(session: "Session", bucket: str, region: str) -> tuple[str, bool]:
    """(address, whether the bucket is part of its host)."""
    found = session.get_component("endpoint_resolver").construct_endpoint(
        "s3",
        region,
        use_dualstack_endpoint=bool(session.get_config_variable("use_dualstack_endpoint")),
        use_fips_endpoint=bool(session.get_config_variable("use_fips_endpoint")),
    )
    host = found["hostname"] if found else f"s3.{region}.amazonaws.com"
    settings = session.get_scoped_config().get("s3")
    by_path = "." in bucket or (isinstance(settings, dict) and settings.get("addressing_style") == "path")
    return (f"https://{host}", False) if by_path else (f"https://{bucket}.{host}", True)


def bucket_region(spec: StoreSpec) -> str | None:
    """Where S3 says that the bucket is, which it tells anybody; None where it does not say."""
    bucket = split_address(spec.uri)[1]
    url = spec.endpoint_url or "https://s3.amazonaws.com"
    request = urllib.request.Request(f"{url}/{quote(bucket)}", method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=_LOOKUP_S) as reply:
            headers = reply.headers
    except urllib.error.HTTPError as refusal:
        headers = refusal.headers
    except OSError:
        return None
    region: str | None = headers.get("x-amz-bucket-region")
    return region


# Arrow's file system --------------------------------------------------------------------------------------------------


def arrow_filesystem(spec: StoreSpec) -> "tuple[FileSystem, str]":
    """The file system, and this address in it. It finds credentials by itself, and holds none that could be pickled."""
    scheme, bucket, prefix = split_address(spec.uri)
    if scheme != "s3":
        raise DarkroomError(f"{spec.uri}: references are read from a folder or s3://; copy them to one")
    return _arrow_s3(bucket, spec.endpoint_url), f"{bucket}/{prefix}".rstrip("/")


def _arrow_s3(bucket: str, endpoint_url: str | None) -> "FileSystem":
    from pyarrow import fs

    timeouts: dict[str, Any] = {"connect_timeout": 5, "request_timeout": 60}
    configured = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    url = endpoint_url or checked_endpoint(configured, "AWS_ENDPOINT_URL")
    if url:
        parts = urlsplit(url)
        return fs.S3FileSystem(endpoint_override=parts.netloc + parts.path, scheme=parts.scheme, **timeouts)
    try:
        return fs.S3FileSystem(region=fs.resolve_s3_region(bucket), **timeouts)
    except OSError:
        return fs.S3FileSystem(**timeouts)  # let the first request say what is wrong
