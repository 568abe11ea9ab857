"""Real-time priority for the thread that commands the arms, where the system permits it."""

from __future__ import annotations

import os

ORDINARY = "ordinary"


def ask_for_priority(priority: int) -> str:
    """Give the calling thread a real-time priority (SCHED_FIFO).

    Args:
        priority: 1 to 99, above what is ordinary; 0 asks for nothing.

    Returns:
        What the thread runs with: `SCHED_FIFO 40`, or `ordinary`, with the reason where more was asked for.
    """
    if priority == 0:
        return ORDINARY
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except PermissionError:
        return f"{ORDINARY}: real-time priority {priority} is not permitted, dygro-doctor tells how it can be"
    return f"SCHED_FIFO {priority}"
