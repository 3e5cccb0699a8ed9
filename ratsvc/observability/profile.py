"""A CPU profile of this process, taken from inside: which functions its threads spend processor time in.

A thread looks at all others' stacks (`sys._current_frames`) so often a second, and gives each stack the processor
time that its thread has used since it was last looked at: a thread that waits weighs nothing. What the process used
beside (threads of gRPC's that run no Python) is one stack of its own.
A thread is looked at when it lets go of the interpreter, so calls that do so (system calls) look a little longer than
they are; while a profile is taken, threads are asked to do so every half millisecond, for truer figures.
Cost while it runs, at 100 looks a second: about 2 % of a core; the event loop is not held up.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from time import CLOCK_THREAD_CPUTIME_ID, clock_gettime, monotonic, process_time
from types import CodeType, FrameType

MAX_DEPTH = 100
MAX_STACKS = 20_000
MORE = ("(more stacks)",)
NATIVE = ("(threads without Python)",)
_SWITCH_S = 0.0005
#: Held by whoever takes a profile: it is of the whole process.
ONE = threading.Lock()

Stack = tuple[str, ...]
"""Functions, the outermost first."""


@dataclass(slots=True)
class Profile:
    """What was seen."""

    looks: int = 0
    """How often the stacks were looked at."""
    seconds: dict[Stack, float] = field(default_factory=dict)
    """Processor time by stack."""

    @property
    def total(self) -> float:
        """Processor time in all."""
        return sum(self.seconds.values())

    def add(self, stack: Stack, seconds: float) -> None:
        """Adds processor time to a stack."""
        if stack not in self.seconds and len(self.seconds) >= MAX_STACKS:
            stack = MORE
        self.seconds[stack] = self.seconds.get(stack, 0.0) + seconds

    def collapsed(self) -> str:
        """As text, one stack a line, its functions joined by `;`, then microseconds: what flame graph tools read."""
        found = sorted(self.seconds.items())
        return "".join(f"{';'.join(stack)} {round(seconds * 1e6)}\n" for stack, seconds in found)


def take(seconds: float, rate: float, stop: threading.Event) -> Profile:
    """Takes a profile, in the thread that it is called in; its caller holds `ONE`.

    Args:
        seconds: how long, unless `stop` is set before.
        rate: looks a second.
    """
    profile, names = Profile(), _Names()
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    began, began_cpu, own_began = monotonic(), process_time(), clock_gettime(CLOCK_THREAD_CPUTIME_ID)
    used = _used()
    try:
        while (now := monotonic()) < began + seconds:
            due = began + (profile.looks + 1) / rate
            if stop.wait(max(0.0, min(due, began + seconds) - now)):
                break
            profile.looks += 1
            frames, now_used = sys._current_frames(), _used()
            for thread, cpu in now_used.items():
                spent = cpu - used.get(thread, 0.0)
                if spent > 0 and thread in frames:
                    profile.add(names.stack(frames[thread]), spent)
            used |= now_used
            del frames
    finally:
        sys.setswitchinterval(before)
    own = clock_gettime(CLOCK_THREAD_CPUTIME_ID) - own_began
    native = process_time() - began_cpu - own - profile.total
    if native > 0:
        profile.add(NATIVE, native)
    return profile


def _used() -> dict[int, float]:
    """Processor seconds of each Python thread but this, by its ident."""
    found: dict[int, float] = {}
    own = threading.get_ident()
    for thread in threading.enumerate():
        if thread.ident is None or thread.native_id is None or thread.ident == own:
            continue
        try:
            # A thread's clock by its kernel id, as pthread_getcpuclockid(3) makes it: safe when it has ended.
            found[thread.ident] = clock_gettime(~thread.native_id << 3 | 6)
        except OSError:
            continue
    return found


class _Names:
    """Names of functions, each made once."""

    def __init__(self) -> None:
        self._of: dict[CodeType, str] = {}

    def stack(self, frame: FrameType | None) -> Stack:
        """The functions that are running, the outermost first; of a deep stack, the innermost MAX_DEPTH."""
        found: list[str] = []
        while frame is not None:
            if len(found) == MAX_DEPTH:
                found.append("…")
                break
            found.append(self._of.get(frame.f_code) or self._name(frame))
            frame = frame.f_back
        return tuple(reversed(found))

    def _name(self, frame: FrameType) -> str:
        code = frame.f_code
        text = f"{frame.f_globals.get('__name__', '?')}.{code.co_qualname}"
        clean = "".join(char if char.isprintable() and char not in "; " else "_" for char in text)[:200]
        self._of[code] = clean
        return clean
