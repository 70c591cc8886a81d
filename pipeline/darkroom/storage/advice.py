"""What an S3 error means to a person and what to do. Knows codes, not the request: it cannot repeat a secret."""

import re

_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
_BUCKET = "the bucket does not exist; create it, or correct its name"
_EXPIRED = "the session credentials have expired; renew them"
_REGION = "the bucket is in another region; set AWS_REGION to its own"
_CONDITION = "the store does not know conditional puts, which keep an image from being written twice; use another one"
_ADVICE = {
    "NoSuchBucket": _BUCKET,
    "404": _BUCKET,
    "InvalidAccessKeyId": "the access key is not known there; correct AWS_ACCESS_KEY_ID or the profile",
    "SignatureDoesNotMatch": "the secret key is wrong; correct AWS_SECRET_ACCESS_KEY or the profile",
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "this machine's clock is wrong; set it",
    "AuthorizationHeaderMalformed": _REGION,
    "PermanentRedirect": _REGION,
    "IllegalLocationConstraintException": _REGION,
    "NotImplemented": _CONDITION,
    "501": _CONDITION,
}


def advice(code: str, status: int, where: str) -> str:
    """One line on an answer with this error code and HTTP status."""
    code = code if _CODE.fullmatch(code) else str(status)
    if code in _ADVICE:
        return f"{_ADVICE[code]} ({where} answered {code})"
    if status in (401, 403):
        return f"access refused by {where} ({code}); check the credentials and their right to this bucket"
    return f"{where} answered {code}; try again later, or check the address"
