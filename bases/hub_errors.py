"""The errors of the Hugging Face Hub's client as ours, each with the next step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import AccessDenied, ExternalError, Unreachable, UserError

TIMEOUT = 20.0
_XET = "Set HF_HUB_DISABLE_XET=1 to download without it, or try again."
_BAD_TOKEN = ("invalid credentials", "invalid username or password", "invalid user token", "token is expired")


class HubErrors:
    """What is translated for whom: an endpoint, a token (None: whatever the Hub's client finds; False: none)."""

    def __init__(self, endpoint: str, token: str | bool | None = None) -> None:
        self.endpoint = endpoint
        self.token = token

    @property
    def has_token(self) -> bool:
        """Whether requests carry one."""
        return "authorization" in self.headers()

    def headers(self) -> dict[str, str]:
        """The headers by which the Hub's client says who asks."""
        from huggingface_hub.utils import build_hf_headers

        return dict(build_hf_headers(token=self.token))

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Turn the client's errors into ours."""
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError as error:
            raise self.gated(what) from error
        except errors.DisabledRepoError as error:
            raise UserError(f"{what} has been disabled by the Hub.") from error
        except errors.LocalEntryNotFoundError as error:
            raise Unreachable(f"{self.endpoint} cannot be reached, and {what} is not whole in the cache.") from error
        except (
            errors.RepositoryNotFoundError,
            errors.RevisionNotFoundError,
            errors.EntryNotFoundError,
            errors.HFValidationError,
        ) as error:
            self.check_token(getattr(error, "response", None))
            raise UserError(
                f"{what} was not found at {self.endpoint}. Check the name and the revision; a private one needs "
                "HF_TOKEN."
            ) from error
        except errors.OfflineModeIsEnabled as error:
            raise UserError(
                f"HF_HUB_OFFLINE is set, so the Hub is not asked, and {what} is not whole in the cache. Unset it, or "
                "name a folder."
            ) from error
        except errors.HfHubHTTPError as error:
            raise self.failed(what, error.response) from error
        except errors.HTTPError as error:
            raise Unreachable(
                f"{self.endpoint} cannot be reached ({type(error).__name__}). Is there a network?"
            ) from error
        except (OSError, ValueError) as error:
            raise ExternalError(f"Reading {what} from {self.endpoint} failed: {str(error)[:300]}") from error
        except RuntimeError as error:  # hf_xet knows no other
            raise ExternalError(f"The Hub's transfer of {what} (hf_xet) failed: {str(error)[:300]}. {_XET}") from error

    def failed(self, what: str, response: Any) -> Exception:
        """The error that a bad status means; whoever waits for busy hubs has a finer one."""
        if response.status_code in (401, 403):
            self.check_token(response)
            return self.gated(what)
        after = response.headers.get("Retry-After", "")
        seconds = float(after) if after.isdigit() else None
        hint = f" Try again in {seconds:.0f} s." if seconds is not None else " Try again later."
        return ExternalError(f"{self.endpoint} answered {response.status_code} for {what}.{hint}", retry_after=seconds)

    def gated(self, what: str) -> UserError:
        """What to say where somebody must be let in first."""
        return UserError(
            f"{what} is gated or private. Accept its terms at {self.endpoint}/{what}, then set HF_TOKEN or run: "
            "hf auth login"
        )

    def check_token(self, response: Any) -> None:
        """Raise AccessDenied if a 401 is for the token and not for what was asked."""
        if response is None or response.status_code != 401 or not self.has_token:
            return
        said = f"{response.headers.get('X-Error-Message', '')} {response.text[:500]}".casefold()
        if any(words in said for words in _BAD_TOKEN) or self._nobody():
            raise AccessDenied(
                f"{self.endpoint} refuses the token: it is wrong or has expired. Set HF_TOKEN to another, or run: "
                "hf auth login. Without one, public repositories can be read."
            )

    def _nobody(self) -> bool:
        """Whether the Hub says that the token belongs to nobody."""
        from huggingface_hub.errors import HTTPError
        from huggingface_hub.utils import get_session

        try:
            url = f"{self.endpoint}/api/whoami-v2"
            answer = get_session().get(url, headers=self.headers(), timeout=TIMEOUT, follow_redirects=False)
        except HTTPError:
            return False
        return bool(answer.status_code == 401)
