"""Pillow is an extra: what needs it says so when it is missing, and only then."""

from __future__ import annotations

from importlib.util import find_spec

from planck.errors import MissingExtraError


def need_pillow(purpose: str) -> None:
    """Return if Pillow is installed.

    purpose: what for, to follow "Pillow is needed to ..."
    raises:  MissingExtraError
    """
    if find_spec("PIL") is None:
        raise MissingExtraError(
            f"Pillow is needed to {purpose}, and it is not installed",
            try_="pip install 'planckrt[vision]'",
        )
