"""Every error that Planck raises on purpose.

    PlanckError
    |- ModelError               a model file or graph that cannot be used
    |  |- ModelFormatError      damaged, cut or not of the format it claims
    |  |- UnsupportedOperator   operators that Planck cannot read (all of a model's, at once)
    |  |  `- NotConstant        what decides the graph comes from an input's values
    |  |- GraphError            a graph that breaks a rule of the IR (the verifier's)
    |  `- GraphSyntaxError      a text graph that does not parse
    |- ShapeError               shapes that do not fit
    |- DTypeError               dtypes that do not fit
    |- BuildError               a graph that cannot be compiled as asked
    |- CompilerProcessError     a process that compiles kernels ended or cannot work
    |- PlanError                a plan file that cannot be used
    |  |- PlanFormatError       damaged, cut, or not a plan
    |  |- PlanVersionError      of another format or Planck version
    |  `- PlanTargetError       built for another machine
    |- DeviceError              a GPU that is missing or that fails
    |  |- NoDeviceError         no GPU here, or no NVIDIA driver for it
    |  |- DriverTooOldError     a driver too old for Planck or for a plan's code
    |  |- DeviceMemoryError     the GPU's memory is used up
    |  |- LibraryError          a library of NVIDIA's that is missing, of another version, or fails
    |  `- CudaError             another call of the CUDA driver that failed
    |- ContextInUseError        one execution context, two threads at once
    |- InputError               what was given to run or detect cannot be used
    |- FileError                a file that cannot be read or written (missing, disk full, ...)
    `- MissingExtraError        an optional package that this feature needs

A message has up to four lines: what happened; `at:` where; `know:` what was
known; `try:` what to do.
"""

from __future__ import annotations


class PlanckError(Exception):
    """The root: catch this to catch everything that Planck raises on purpose.

    what:  one sentence, without a full stop
    at:    the place: file, line, node, layer
    know:  the facts that led here
    try_:  what the reader can do next
    """

    def __init__(self, what: str, *, at: str = "", know: str = "", try_: str = "") -> None:
        self.what, self.at, self.know, self.try_ = what, at, know, try_
        super().__init__(what)

    def __str__(self) -> str:
        rows = [self.what]
        for key, text in (("at:", self.at), ("know:", self.know), ("try:", self.try_)):
            if text:
                rows.append(f"  {key:<6} {text}")
        return "\n".join(rows)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.what, self.at, self.know, self.try_))


def _rebuild(kind: type[PlanckError], what: str, at: str, know: str, try_: str) -> PlanckError:
    return kind(what, at=at, know=know, try_=try_)


class ModelError(PlanckError):
    """A model file or graph that cannot be used."""


class ModelFormatError(ModelError):
    """A model file that is damaged, cut, or not of the format it claims."""


class UnsupportedOperator(ModelError):  # noqa: N818 - the name users know from other runtimes
    """Operators that Planck cannot read; the message lists all of the model's."""


class NotConstant(UnsupportedOperator):
    """What decides the graph (a shape, axes, a count, a sequence) comes from an input's values."""


class GraphError(ModelError):
    """A graph that breaks a rule of the IR."""


class GraphSyntaxError(ModelError):
    """A text graph that does not parse."""


class ShapeError(PlanckError):
    """Shapes that do not fit together, or an array of the wrong shape."""


class DTypeError(PlanckError):
    """Dtypes that do not fit together, or an array of the wrong dtype."""


class BuildError(PlanckError):
    """A graph that cannot be compiled as asked."""


class CompilerProcessError(PlanckError):
    """A process that compiles kernels could not work: it ended, or does not find a package."""


class PlanError(PlanckError):
    """A plan file that cannot be used."""


class PlanFormatError(PlanError):
    """A plan file that is damaged, cut, or not a plan."""


class PlanVersionError(PlanError):
    """A plan of another format or of another version of Planck."""


class PlanTargetError(PlanError):
    """A plan built for another machine."""


class DeviceError(PlanckError):
    """A GPU that is missing or that fails."""


class NoDeviceError(DeviceError):
    """There is no GPU here, or no NVIDIA driver for it."""


class DriverTooOldError(DeviceError):
    """The NVIDIA driver is too old for Planck, or for a plan's code."""


class DeviceMemoryError(DeviceError):
    """The GPU's memory is used up: the message says what was asked and what is free."""


class LibraryError(DeviceError):
    """A library of NVIDIA's (cuBLASLt, cuDNN): missing, of another version, or failing."""


class CudaError(DeviceError):
    """A call of the CUDA driver that failed: the message has the call and the error's name."""


class ContextInUseError(PlanckError):
    """An execution context used by two threads at once."""


class InputError(PlanckError):
    """What was given to run or detect cannot be used."""


class FileError(PlanckError):
    """A file that cannot be read or written."""


class MissingExtraError(PlanckError):
    """An optional package that this feature needs is not installed."""
