"""What Civitai's error answers mean, as sentences with the next step."""

from __future__ import annotations

import re

from ....errors import AccessDenied, Busy, ExternalError, UserError
from .answers import BUSY, busy, reason_of, retry_after
from .web import Failure

_TOKEN = "DIFFGRAPH_CIVITAI_TOKEN"


def failed(answer: Failure) -> Exception:
    """The error for an answer: nobody's to have, not yet, no more, not now, or not there."""
    host, what, status = answer.host, answer.what, answer.status
    why = reason_of(answer.body)
    said = f" It says: {why}." if why else ""
    if status in BUSY:
        found = busy(host, status, what, retry_after(answer.headers))
        quota = " A quota may be used up, and a token has a larger one." if _anonymous(answer, 429) else ""
        return Busy(f"{found}{quota}", retry_after=found.retry_after)
    if status == 401 and answer.with_token:
        return AccessDenied(f"{host} refuses the token for {what}. Set {_TOKEN} to another.")
    if status == 401:
        return UserError(f"{what} is only for those who are logged in. Set {_TOKEN} to your API key.")
    if status == 403 and (until := _deadline(answer.body)):
        return UserError(f"{what} is in early access until {until}: buy it there, or wait.")
    if status == 403:
        return UserError(f"{host} does not let you have {what}.{said}")
    if status == 404:
        return UserError(f"{what} was not found at {host}; valid ids can be missing for days, so perhaps later.")
    if status == 410:
        return UserError(f"{what} was archived by Civitai and cannot be downloaded any more.")
    return ExternalError(f"{host} answered {status} for {what}.{said}")


def _anonymous(answer: Failure, status: int) -> bool:
    return answer.status == status and not answer.with_token


def _deadline(body: bytes) -> str:
    """Until when a file is for those who paid, as an error's JSON says."""
    found = re.search(rb'"deadline"\s{0,4}:\s{0,4}"([0-9T:.Z+-]{8,40})"', body)
    return found[1].decode() if found else ""
