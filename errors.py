"""Every error that DiffGraph raises on purpose.

::

    DiffGraphError
    ├── UserError          one line, no traceback: bad setting, missing key, empty prompt
    │   ├── BaseMissing    a base, or a file that belongs to it, is absent or damaged
    │   └── NoCritic       nobody here can judge what the base draws
    ├── PlanError          a merge plan that cannot be carried out: what is incompatible, which keys
    ├── ExpertError        a bad expert file: which file, what, where
    ├── ToolRetry          goes back to the model, which may mend its arguments
    ├── ToolFailed         the model sees it; the request ends or goes round it
    ├── BudgetExceeded     a step, round or byte budget is spent
    └── ExternalError      hub, LLM or device; may carry ``retry_after`` seconds

Anything else that reaches the top is a bug and prints its traceback.
"""

from __future__ import annotations


class DiffGraphError(Exception):
    """Root of the tree. The message is a sentence for a person and says what to do next."""


class UserError(DiffGraphError):
    """Something the user can mend. Printed as one line, without a traceback."""


class BaseMissing(UserError):
    """A base or a file that belongs to it is not on this machine, or does not match its manifest."""


class NoCritic(UserError):
    """Nobody here can judge what the base draws: images are drawn unjudged, and nothing can be calibrated."""


class AccessDenied(UserError):
    """A host refuses the token itself, whatever is asked for with it."""


class PlanError(DiffGraphError):
    """A merge plan that cannot be carried out as written."""


class ExpertError(DiffGraphError):
    """An expert file that cannot be read exactly.

    Attributes:
        path: the file, as given.
        keys: the tensor keys that are at fault (may be empty).
    """

    def __init__(self, message: str, *, path: str = "", keys: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.path = path
        self.keys = keys


class ToolRetry(DiffGraphError):
    """A tool call whose arguments the model can mend; the message says how."""


class ToolFailed(DiffGraphError):
    """A tool that could not do its work; the request ends or goes round it."""


class BudgetExceeded(DiffGraphError):
    """A step, round or byte budget is spent."""


class ExternalError(DiffGraphError):
    """A hub, an LLM server or a device failed.

    Attributes:
        retry_after: seconds after which another try makes sense, or None if unknown.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Busy(ExternalError):
    """A host that asks for patience: too many requests, or down for the moment."""


class Unreachable(ExternalError):
    """A host that does not answer at all, or breaks off."""
