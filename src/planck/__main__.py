"""`python -m planck` is the `planck` command."""

from __future__ import annotations

from planck.cli import main

main()
