"""The libraries of NVIDIA's that a plan's steps call, opened only where there is such a step."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from planck.device.cuda.device import Resources
from planck.device.cuda.driver import Handle, Parameters
from planck.device.cuda.library import Call, Library, Open, dotted
from planck.errors import LibraryError
from planck.plan.model import Plan

Put = Callable[[Handle], Any]  # puts a step in a stream


class Libraries:
    """What an engine has open.

    resources:  the engine's, whose device is the calling thread's
    raises:     LibraryError if one is missing, or another version than the plan was built with
    """

    def __init__(self, plan: Plan, resources: Resources, open_: Open) -> None:
        self._open: dict[str, tuple[Library, Handle]] = {}
        for step in plan.steps:
            call = step.launch
            if not isinstance(call, Call):
                continue
            if call.library not in self._open:
                library = _opened(call, open_)
                handle = resources.undo(library.create(), library.destroy)
                self._open[call.library] = library, handle
            _check_version(call, self._open[call.library][0])

    def prepare(self, call: Call, parameters: Parameters, resources: Resources) -> Put:
        """A call that is ready; what it is made of belongs to `resources`."""
        library, handle = self._open[call.library]
        prepared = resources.undo(library.prepare(handle, call, parameters), library.release)
        return partial(library.run, prepared)


def _opened(call: Call, open_: Open) -> Library:
    try:
        return open_(call.library)
    except LibraryError as error:
        raise LibraryError(
            f"the plan calls {call.library}: {error.what}",
            know=error.know,
            try_=f"{error.try_}; or build the plan again with tactic_sources=()",
        ) from error


def _check_version(call: Call, library: Library) -> None:
    if call.version != library.version:
        theirs, ours = dotted(call.version), dotted(library.version)
        raise LibraryError(
            f"the plan was built with another version of {call.library}",
            know=f"version: {theirs} in the plan, {ours} here",
            try_=f"install {call.library} {theirs}, or build the plan again, here or with "
            "tactic_sources=()",
        )
