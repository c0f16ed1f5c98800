"""What a plan does, step by step: names, tactics, shapes, sizes, origins, times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from planck.plan.model import Plan, Slot, Step
from planck.runtime.table import table


@dataclass(frozen=True, slots=True)
class StepReport:
    """One launch of one kernel.

    reads, writes:  tensors as text, "name: f32[1,64,80,80]:c16"
    bytes, flops:   memory traffic and arithmetic of one run, as the build counted them
    measured_us:    time when it was tuned; 0 if it was not
    error:          from float64 over the largest output, on random numbers; None if the build had
                    no cause to measure it
    reference:      it runs in NumPy, as no tactic could compile it
    """

    number: int
    name: str
    tactic: str
    kernel: str
    config: dict[str, Any]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    tiles: int
    bytes: int
    flops: int
    measured_us: float
    error: float | None
    origin: tuple[str, ...]
    reference: bool


@dataclass(frozen=True, slots=True)
class Report:
    """A plan from outside; print it for a table.

    accuracy:  what the build's check against float64 found: "budget" and "error" over the largest
               output, and the kernels "replaced" to hold it, what each "was" and is "now"; if there
               are any, the error "before", and "least", each kernel in its most exact way. None
               where nothing was checked: all kernels are exact, or the check was switched off. Its
               error is None where random integers fit the network in no way, its budget where the
               precision holds none
    tuned:     False where kernels were chosen without timing them, as for a GPU that was not there
    """

    name: str
    target: str
    machine: str
    precision: str
    threads: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arena_bytes: int
    weights_bytes: int
    code_bytes: int
    accuracy: dict[str, Any] | None
    tuned: bool
    steps: tuple[StepReport, ...]

    @property
    def reference_steps(self) -> int:
        """How many steps run slowly, in NumPy, because no tactic compiles them."""
        return sum(step.reference for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {**asdict(self), "reference_steps": self.reference_steps}

    def __str__(self) -> str:
        rows = [
            (
                str(s.number),
                s.name,
                s.tactic,
                ", ".join(t.partition(": ")[2] for t in s.writes),
                f"{s.measured_us:.1f}",
                f"{s.flops / 1e6:.1f}",
                f"{s.bytes / 1e3:.1f}",
                ", ".join(s.origin),
            )
            for s in self.steps
        ]
        head = ("step", "name", "tactic", "gives", "us", "MFLOP", "kB", "origin")
        sizes = (
            f"arena {self.arena_bytes / 1e6:.1f} MB, weights {self.weights_bytes / 1e6:.1f} MB, "
            f"code {self.code_bytes / 1e3:.0f} kB, reference steps {self.reference_steps}"
        )
        threads = "" if self.target.startswith("cuda") else f", {self.threads} threads"
        how = f"{self.precision}{threads}{'' if self.tuned else ', kernels not timed'}"
        return "\n".join(
            [
                f"{self.name}: {self.target}, {how}",
                f"  in   {', '.join(self.inputs)}",
                f"  out  {', '.join(self.outputs)}",
                f"  {sizes}",
                *([f"  {accuracy_line(self.accuracy)}"] if self.accuracy else []),
                table(head, rows),
            ]
        )


def accuracy_line(accuracy: Mapping[str, Any]) -> str:
    """What the check of a build found, in one line."""
    if accuracy["error"] is None:
        return "error not known: the network cannot be evaluated in float64 on random inputs"
    line = f"error {accuracy['error']:.1e} of the largest output"
    if accuracy["budget"] is not None:
        line += f", budget {accuracy['budget']:.1e}"
    count = len(accuracy["replaced"])
    return (
        f"{line}; {accuracy['before']:.1e} with {count} kernels replaced since" if count else line
    )


def report(plan: Plan) -> Report:
    """The report of a plan."""
    return Report(
        plan.name,
        str(plan.target),
        plan.target.machine,
        plan.precision,
        plan.threads,
        tuple(_tensor(s, plan.names) for s in plan.inputs),
        tuple(_tensor(s, plan.names) for s in plan.outputs),
        plan.arena_bytes,
        len(plan.weights),
        len(plan.code),
        plan.build.get("accuracy"),
        plan.build.get("tuned", plan.build.get("level", 1) > 0),
        tuple(_step(plan, number, step) for number, step in enumerate(plan.steps)),
    )


def _step(plan: Plan, number: int, step: Step) -> StepReport:
    return StepReport(
        number,
        step.name,
        step.tactic,
        step.kernel,
        dict(step.config),
        tuple(_tensor(plan.slots[n], plan.names) for n in step.reads),
        tuple(_tensor(plan.slots[n], plan.names) for n in step.writes),
        step.tiles,
        step.bytes,
        step.flops,
        step.measured_us,
        _error(plan, step),
        step.origin,
        not step.symbol,
    )


def _error(plan: Plan, step: Step) -> float | None:
    """Of the way that runs the step, which stands first among all that were considered."""
    considered = plan.build.get("timings", {}).get(step.kernel)
    return considered[0].get("error") if considered else None


def _tensor(slot: Slot, names: dict[str, str]) -> str:
    return f"{names.get(slot.name, slot.name)}: {slot.type}"
