"""What a person is told about a disk that is full, read-only or forbidden."""

from __future__ import annotations

import errno

_REASONS = {
    errno.ENOSPC: "The disk is full",
    errno.EDQUOT: "The disk quota is used up",
    errno.EROFS: "The file system is read-only",
    errno.EACCES: "Permission denied",
    errno.EPERM: "Permission denied",
}
_ADVICE = "What was finished is kept. Free some space, or set DIFFGRAPH_HOME to another folder."


def disk_sentence(error: OSError) -> str | None:
    """The sentence for a full or read-only disk; None for an OSError that is a bug."""
    reason = _REASONS.get(error.errno or 0)
    if reason is None:
        return None
    where = f" ({error.filename})" if error.filename else ""
    return f"{reason}{where}. {_ADVICE}"


def sqlite_sentence(error: Exception, where: object) -> str | None:
    """The sentence where SQLite, under whatever library, says that the disk is full; None where it says else."""
    return f"The disk is full ({where}). {_ADVICE}" if "disk is full" in str(error) else None
