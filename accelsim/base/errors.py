"""The exception family. Library code raises; only the command line prints and exits."""

import difflib
from collections.abc import Iterable

__all__ = ["AccelsimError", "InfeasibleError", "InputError", "did_you_mean", "to_install"]


class AccelsimError(Exception):
    """Base of every error accelsim raises on purpose. Its text is written for the user."""

    exit_code = 2


class InputError(AccelsimError):
    """Input that cannot be used: says where, what was found and what is allowed (exit code 2)."""


class InfeasibleError(AccelsimError):
    """Valid input that no schedule can execute, such as a buffer too small for one tile (exit code 3)."""

    exit_code = 3


def did_you_mean(name: str, legal: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the legal name nearest to `name`, else an empty string.

    >>> did_you_mean("aray", ["array", "dram"])
    "; did you mean 'array'?"
    >>> did_you_mean("zzz", ["array", "dram"])
    ''
    """
    nearest = difflib.get_close_matches(name, list(legal), n=1, cutoff=0.5)
    return f"; did you mean '{nearest[0]}'?" if nearest else ""


def to_install(extra: str) -> str:
    """Return the command that adds an extra of this package, which no index holds.

    >>> to_install("torch")
    "pip install -e '.[torch]' in the folder of accelsim"
    """
    return f"pip install -e '.[{extra}]' in the folder of accelsim"
