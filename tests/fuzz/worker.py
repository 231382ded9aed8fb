"""A process that tries mutants under limits: ``python -m tests.fuzz.worker SEED FIRST LAST STEP``.

Writes a line for each mutant when it begins and when it ends, so that whoever reads them knows
which one the process died of.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import resource
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from tests.fuzz.attempt import Mutant, attempt

SECONDS = 10
"""Processor time that a mutant may take: a busy machine is no fault of its."""
STUCK = 120
"""Seconds until one that only waits is given up."""
BYTES = 2 << 30
RESET, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def main(seed: int, first: int, last: int, step: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    faulthandler.register(signal.SIGPROF, chain=True)  # which ends the process
    for number in range(first, last, step):
        _say(number=number)
        mutant = Mutant.make(seed, number)
        RESET.write_text("5")
        faulthandler.dump_traceback_later(STUCK, exit=True)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        start = time.process_time()
        try:
            outcome, detail = attempt(mutant), ""
        except BaseException as error:
            outcome, detail = f"escaped: {type(error).__name__}", traceback.format_exc()
        signal.setitimer(signal.ITIMER_PROF, 0)
        faulthandler.cancel_dump_traceback_later()
        _say(number=number, outcome=outcome, detail=detail, seconds=time.process_time() - start,
             bytes=_peak(), kind=mutant.kind, origin=mutant.origin)  # fmt: skip
        if number // step % 50 == 0:
            gc.collect()


def _peak() -> int:
    """Most memory that the process has held since :data:`RESET` was written, in bytes."""
    line = next(s for s in STATUS.read_text().splitlines() if s.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def _say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
