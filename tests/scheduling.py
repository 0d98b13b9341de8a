"""Which threads of this process have real-time priority (SCHED_FIFO, SCHED_RR).

As root, SVT-AV1 gives the thread that calls it SCHED_FIFO 99, and threads inherit it: nothing
else runs on the machine while they are busy. No test and no command encodes with it.
"""

import os


def real_time_threads() -> dict[int, int]:
    """Thread id -> policy of those; empty where the system does not tell (no Linux)."""
    if not os.path.isdir("/proc/self/task"):
        return {}
    found = {}
    for name in os.listdir("/proc/self/task"):
        try:
            policy = os.sched_getscheduler(int(name)) & ~os.SCHED_RESET_ON_FORK
        except ProcessLookupError:  # it has ended
            continue
        if policy in (os.SCHED_FIFO, os.SCHED_RR):
            found[int(name)] = policy
    return found
