"""What hosts answer, read with care: JSON that may be an error or a web page, and how long they ask one to wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from ....errors import Busy, ExternalError
from ..words.plain import clean, mapping

MAX_JSON_BYTES = 32 * 2**20
"""The longest answer that is read; a page of a list takes some hundred kilobytes."""
MAX_WAIT = 86_400.0
BUSY = frozenset({408, 425, 429, 502, 503, 504})
"""Statuses after which the same request may well be answered."""
_SAID = 200


def document(body: bytes, host: str, what: str) -> Any:
    """The JSON of an answer that claims to be good.

    Args:
        body: of the answer.
        host: who answered. what: what was asked for; both for the message.

    Raises:
        ExternalError: an error in disguise, null, a web page, or no JSON at all.
    """
    start = body[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<")):
        raise ExternalError(f"{host} answered a web page instead of {what}: a login page, a block or a wrong address.")
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ExternalError(f"{host} answered no JSON for {what}. Try again later.") from error
    if found is None:
        raise ExternalError(f"{host} answered nothing (null) for {what}. Try again later.")
    if isinstance(found, dict) and found.get("error"):
        raise ExternalError(f"{host} answered an error for {what}: {reason(found) or 'without a reason'}.")
    return found


def reason(found: object) -> str:
    """What an error's JSON gives as its reason, as one bounded line without a full stop; empty if it gives none."""
    said = mapping(found)
    error = said.get("error")
    for value in (error, mapping(error).get("message"), said.get("message"), said.get("detail")):
        if text := clean(value, _SAID):
            return text.rstrip(".")
    return ""


def reason_of(body: bytes) -> str:
    """`reason` of a body that may be anything."""
    try:
        return reason(json.loads(body[:20_000]))
    except (ValueError, RecursionError):
        return ""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that ``Retry-After`` names, as a number or as a date; None if it names none. At most a day."""
    value = str(headers.get("Retry-After") or "").strip()[:64]
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return None
        at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
        seconds = (at - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), MAX_WAIT) if seconds == seconds else None


def busy(host: str, status: int, what: str, seconds: float | None) -> Busy:
    """The error for a host that asks for patience, with how long."""
    when = f"Try again in {seconds:.0f} s." if seconds is not None else "Try again later."
    if status == 429:
        return Busy(f"{host} limits the rate of requests. {when}", retry_after=seconds)
    return Busy(f"{host} answered {status} for {what}. {when}", retry_after=seconds)
