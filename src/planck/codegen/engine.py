"""The native engine loop: LLVM IR that runs the steps of a plan on any number of threads.

Steps run in order. A step of one unit is run by whichever thread opened it, with no word to the
others. A larger step is opened by writing the work word: a ticket, and the range of free units.
Threads claim units by compare-and-swap, even threads from the front and odd ones from the back, so
that neighbouring units, and the next step's, stay in the same core's cache. Each thread reports how
many units it has done once it finds none left; the one whose report completes the step opens the
next.

Nobody waits for a thread that holds no unit: a thread that the system has taken off its core, or
that still sleeps, is missed but not waited for. Whoever finds nothing to do spins for a few tens of
microseconds and then sleeps in the kernel (futex) on the ticket.

Notebook (Zen 5, two cores; ResNet-50, YOLOv4-tiny and YOLOv8n, every unit of every step timed)

- Steps do not overlap: waiting at their ends for another thread's last unit costs 0.5 to 1.1 % of a
  run, opening them 0.2 %. Units that start as soon as what they read is ready could win no more,
  and would need an arena where both steps' tensors live, and a check at each claim.
- What keeps two threads from twice the speed is memory, in steps of many weights: 766 us of
  ResNet-50's 13,165, 520 of YOLOv4-tiny's 7,164. Convolutions that prefetch later steps' weights, a
  line or two in each trip of the innermost loop, brought 256 channels at 14x14 from 206 us to 171;
  but that code alone cost up to 1.4 % of a network: in three runs ResNet-50 won 0.4 to 3.4 %,
  YOLOv4-tiny lost 0.9 % or won as much. Kernels apart for the steps that fetch were not tried.
- Beside a process that spins, both threads end on one processor: one is taken off amid a unit, the
  other sleeps, and they wake on the same. Whoever wakes beside its waker moved elsewhere by
  sched_setaffinity: YOLOv4-tiny 12.6 ms instead of 13.6 (7.5 alone), but on a quiet machine perhaps
  1 % slower; left out.

The ticket makes a claim of a closed step fail: free units are [front, back) of one 64-bit word with
the ticket, and a step is only replaced once its range is empty.
"""

from __future__ import annotations

from functools import lru_cache

from planck.codegen.llvm import attributes, compile_object
from planck.errors import BuildError
from planck.plan import record
from planck.target import Target

_FUTEX = {"x86_64": 202, "aarch64": 98}  # system call numbers, Linux
_WAIT, _WAKE = 128, 129  # FUTEX_WAIT and FUTEX_WAKE, private to the process
_EVERYBODY = 0x7FFFFFFF

_CLOCK = {
    "x86_64": "call i64 @llvm.readcyclecounter()",
    # The cycle counter of AArch64 is closed to programs; the virtual timer is open.
    "aarch64": "call i64 @llvm.readsteadycounter()",
}
_PAUSE = {
    "x86_64": "call void @llvm.x86.sse2.pause()",
    "aarch64": "call void @llvm.aarch64.hint(i32 1)",
}
_DECLARE = {
    "x86_64": "declare i64 @llvm.readcyclecounter()\ndeclare void @llvm.x86.sse2.pause()",
    "aarch64": "declare i64 @llvm.readsteadycounter()\ndeclare void @llvm.aarch64.hint(i32)",
}

_TEMPLATE = """
<declare>

define i64 @<CLOCK>() #0 {
  %now = <clock>
  ret i64 %now
}

; Ticks of step %s, if a profile is wanted.
define internal void @stamp(ptr %c, i64 %s) #0 {
entry:
  %at = getelementptr i8, ptr %c, i64 <CONTEXT_PROFILE>
  %profile = load ptr, ptr %at, align 8
  %none = icmp eq ptr %profile, null
  br i1 %none, label %done, label %measure
measure:
  %now = <clock>
  %clock = getelementptr i8, ptr %c, i64 <CONTEXT_CLOCK>
  %before = load i64, ptr %clock, align 8
  store i64 %now, ptr %clock, align 8
  %cell = getelementptr i64, ptr %profile, i64 %s
  %sum = load i64, ptr %cell, align 8
  %spent = sub i64 %now, %before
  %new = add i64 %sum, %spent
  store i64 %new, ptr %cell, align 8
  br label %done
done:
  ret void
}

; Tiles [begin, end) of a step; the next ones of this thread lie in %direction, 1 or -1.
define internal void @tiles(
    ptr %step, i64 %begin, i64 %end, ptr %scratch, i64 %direction) alwaysinline #0 {
  %code.at = getelementptr i8, ptr %step, i64 <STEP_CODE>
  %code = load ptr, ptr %code.at, align 8
  %args.at = getelementptr i8, ptr %step, i64 <STEP_ARGUMENTS>
  %args = load ptr, ptr %args.at, align 8
  call void %code(ptr %args, i64 %begin, i64 %end, ptr %scratch, i64 %direction)
  ret void
}

; A new ticket with the given free units; wake up to %count sleepers.
define internal void @publish(ptr %c, i64 %units, i64 %count) #0 {
entry:
  %work = getelementptr i8, ptr %c, i64 <CONTEXT_WORK>
  %old = load atomic i64, ptr %work monotonic, align 8
  %ticket = lshr i64 %old, 32
  %next = add i64 %ticket, 1
  %high = shl i64 %next, 32
  %new = or i64 %high, %units
  store atomic i64 %new, ptr %work seq_cst, align 8
  %sleepers.at = getelementptr i8, ptr %c, i64 <CONTEXT_SLEEPERS>
  %sleepers = load atomic i64, ptr %sleepers.at seq_cst, align 8
  %nobody = icmp sle i64 %sleepers, 0
  br i1 %nobody, label %done, label %wake
wake:
  %system.at = getelementptr i8, ptr %c, i64 <CONTEXT_SYSTEM>
  %system = load ptr, ptr %system.at, align 8
  %word = getelementptr i8, ptr %c, i64 <CONTEXT_TICKET>
  %woken = call i64 (i64, ...) %system(
      i64 <futex>, ptr %word, i64 <wake>, i64 %count, ptr null, ptr null, i64 0)
  ; Whoever is woken no longer counts: it may be long until it runs, and one wake is enough.
  %fewer = atomicrmw sub ptr %sleepers.at, i64 %woken seq_cst
  br label %done
done:
  ret void
}

; Run steps of one unit from %from on; open the next larger one, or finish.
define internal void @advance(ptr %c, i64 %from, ptr %scratch) #0 {
entry:
  %steps = load ptr, ptr %c, align 8
  %last.at = getelementptr i8, ptr %c, i64 <CONTEXT_LAST>
  %last = load i64, ptr %last.at, align 8
  br label %next
next:
  %s = phi i64 [ %from, %entry ], [ %after, %alone ]
  %end = icmp sge i64 %s, %last
  br i1 %end, label %finish, label %look
look:
  %bytes = mul i64 %s, <STEP_BYTES>
  %step = getelementptr i8, ptr %steps, i64 %bytes
  %units.at = getelementptr i8, ptr %step, i64 <STEP_UNITS>
  %units = load i64, ptr %units.at, align 8
  %one = icmp sle i64 %units, 1
  br i1 %one, label %alone, label %open
alone:
  %tiles.at = getelementptr i8, ptr %step, i64 <STEP_TILES>
  %tiles = load i64, ptr %tiles.at, align 8
  call void @tiles(ptr %step, i64 0, i64 %tiles, ptr %scratch, i64 1)
  call void @stamp(ptr %c, i64 %s)
  %after = add i64 %s, 1
  br label %next
open:
  %current = getelementptr i8, ptr %c, i64 <CONTEXT_CURRENT>
  store atomic i64 %s, ptr %current monotonic, align 8
  %pending = getelementptr i8, ptr %c, i64 <CONTEXT_PENDING>
  store atomic i64 %units, ptr %pending monotonic, align 8
  %others = sub i64 %units, 1
  call void @publish(ptr %c, i64 %units, i64 %others)
  ret void
finish:
  ; One store ends the run: after it this context may be running again, so only a wake may follow.
  call void @publish(ptr %c, i64 <FINISHED>, i64 <everybody>)
  ret void
}

; Until the word's ticket moves on from %seen: spin, then sleep. May return early.
define internal void @rest(ptr %c, i64 %seen) #0 {
entry:
  %work = getelementptr i8, ptr %c, i64 <CONTEXT_WORK>
  %spin.at = getelementptr i8, ptr %c, i64 <CONTEXT_SPIN>
  %spin = load i64, ptr %spin.at, align 8
  %start = <clock>
  br label %turn
turn:
  <pause>
  %word = load atomic i64, ptr %work monotonic, align 8
  %same = icmp eq i64 %word, %seen
  br i1 %same, label %patience, label %done
patience:
  %now = <clock>
  %spent = sub i64 %now, %start
  %on = icmp slt i64 %spent, %spin
  br i1 %on, label %turn, label %sleep
sleep:
  %sleepers = getelementptr i8, ptr %c, i64 <CONTEXT_SLEEPERS>
  %more = atomicrmw add ptr %sleepers, i64 1 seq_cst
  %ticket = lshr i64 %seen, 32
  %address = getelementptr i8, ptr %c, i64 <CONTEXT_TICKET>
  %system.at = getelementptr i8, ptr %c, i64 <CONTEXT_SYSTEM>
  %system = load ptr, ptr %system.at, align 8
  %slept = call i64 (i64, ...) %system(
      i64 <futex>, ptr %address, i64 <wait>, i64 %ticket, ptr null, ptr null, i64 0)
  %woken = icmp eq i64 %slept, 0
  br i1 %woken, label %done, label %awake
awake:
  %fewer = atomicrmw sub ptr %sleepers, i64 1 seq_cst
  br label %done
done:
  ret void
}

; Claim units and run them until there is nothing left for this thread to wait for.
define internal void @work(ptr %c, i64 %index) #0 {
entry:
  %work = getelementptr i8, ptr %c, i64 <CONTEXT_WORK>
  %current = getelementptr i8, ptr %c, i64 <CONTEXT_CURRENT>
  %pending = getelementptr i8, ptr %c, i64 <CONTEXT_PENDING>
  %steps = load ptr, ptr %c, align 8
  %base.at = getelementptr i8, ptr %c, i64 <CONTEXT_SCRATCH>
  %base = load ptr, ptr %base.at, align 8
  %stride.at = getelementptr i8, ptr %c, i64 <CONTEXT_SCRATCH_STRIDE>
  %stride = load i64, ptr %stride.at, align 8
  %skip = mul i64 %stride, %index
  %scratch = getelementptr i8, ptr %base, i64 %skip
  %parity = and i64 %index, 1
  %backwards = icmp eq i64 %parity, 1
  %direction = select i1 %backwards, i64 -1, i64 1
  %caller = icmp eq i64 %index, 0
  %stop.at = getelementptr i8, ptr %c, i64 <CONTEXT_STOP>
  br label %look
look:
  %mine = phi i64 [ 0, %entry ], [ %mine, %claim ], [ %mine.more, %run ], [ 0, %told ], [ 0, %rest ]
  %word = load atomic i64, ptr %work acquire, align 8
  %upper = lshr i64 %word, 16
  %front = and i64 %upper, 65535
  %back = and i64 %word, 65535
  %free = icmp ult i64 %front, %back
  br i1 %free, label %claim, label %nothing
claim:
  %s = load atomic i64, ptr %current monotonic, align 8
  %bytes = mul i64 %s, <STEP_BYTES>
  %step = getelementptr i8, ptr %steps, i64 %bytes
  %taken.front = add i64 %word, 65536
  %taken.back = sub i64 %word, 1
  %taken = select i1 %backwards, i64 %taken.back, i64 %taken.front
  %previous = sub i64 %back, 1
  %unit = select i1 %backwards, i64 %previous, i64 %front
  %swap = cmpxchg ptr %work, i64 %word, i64 %taken acq_rel acquire
  %got = extractvalue { i64, i1 } %swap, 1
  br i1 %got, label %run, label %look
run:
  %grain.at = getelementptr i8, ptr %step, i64 <STEP_GRAIN>
  %grain = load i64, ptr %grain.at, align 8
  %tiles.at = getelementptr i8, ptr %step, i64 <STEP_TILES>
  %tiles = load i64, ptr %tiles.at, align 8
  %begin = mul i64 %unit, %grain
  %full = add i64 %begin, %grain
  %end = call i64 @llvm.smin.i64(i64 %full, i64 %tiles)
  call void @tiles(ptr %step, i64 %begin, i64 %end, ptr %scratch, i64 %direction)
  %mine.more = add i64 %mine, 1
  br label %look
nothing:
  %idle = icmp eq i64 %mine, 0
  br i1 %idle, label %wait, label %report
report:
  ; The step of our units is still the current one: it cannot be complete before we report.
  %done.step = load atomic i64, ptr %current monotonic, align 8
  %left = atomicrmw sub ptr %pending, i64 %mine acq_rel
  %complete = icmp eq i64 %left, %mine
  br i1 %complete, label %forward, label %told
forward:
  call void @stamp(ptr %c, i64 %done.step)
  %following = add i64 %done.step, 1
  call void @advance(ptr %c, i64 %following, ptr %scratch)
  br label %told
told:
  br label %look
wait:
  %units = and i64 %word, 4294967295
  %finished = icmp eq i64 %units, <FINISHED>
  %stop = load atomic i64, ptr %stop.at monotonic, align 8
  %stopped = icmp ne i64 %stop, 0
  %over = select i1 %caller, i1 %finished, i1 %stopped
  br i1 %over, label %leave, label %rest
rest:
  call void @rest(ptr %c, i64 %word)
  br label %look
leave:
  ret void
}

declare i64 @llvm.smin.i64(i64, i64)

; Steps [first, CONTEXT_LAST), as thread 0.
define void @<RUN>(ptr %c, i64 %first) #0 {
  %clock = getelementptr i8, ptr %c, i64 <CONTEXT_CLOCK>
  %now = <clock>
  store i64 %now, ptr %clock, align 8
  %base.at = getelementptr i8, ptr %c, i64 <CONTEXT_SCRATCH>
  %base = load ptr, ptr %base.at, align 8
  call void @advance(ptr %c, i64 %first, ptr %base)
  call void @work(ptr %c, i64 0)
  ret void
}

define void @<WORKER>(ptr %c, i64 %index) #0 {
  call void @work(ptr %c, i64 %index)
  ret void
}

define void @<STOP>(ptr %c) #0 {
  %stop = getelementptr i8, ptr %c, i64 <CONTEXT_STOP>
  store atomic i64 1, ptr %stop release, align 8
  call void @publish(ptr %c, i64 0, i64 <everybody>)
  ret void
}
"""


def source(target: Target) -> str:
    """The loop as LLVM IR text, one module. raises: BuildError for an architecture without one

    It gives the symbols `plan/record.py` names, and knows nothing of any one plan.
    """
    if target.arch not in _FUTEX:
        raise BuildError(
            f"planck has no engine loop for {target.arch}",
            know=f"it has one for {' and '.join(_FUTEX)}",
        )
    words = {name: str(value) for name, value in vars(record).items() if name.isupper()}
    words |= {
        "declare": _DECLARE[target.arch],
        "clock": _CLOCK[target.arch],
        "pause": _PAUSE[target.arch],
        "futex": str(_FUTEX[target.arch]),
        "wait": str(_WAIT),
        "wake": str(_WAKE),
        "everybody": str(_EVERYBODY),
    }
    text = _TEMPLATE
    for name, value in words.items():
        text = text.replace(f"<{name}>", value)
    return text + attributes(target) + "\n"


@lru_cache(maxsize=4)
def compiled(target: Target) -> bytes:
    """The loop's object file. raises: BuildError as `source`"""
    return compile_object(target, source(target), 2)
