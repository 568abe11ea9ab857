"""How much later than a command a picture shows it: the phase of a slow sine that one joint moves in.

Each pixel that the arm sweeps follows the joint, brighter or darker with it, so its value holds a sine of the
same period. Squared complex amplitudes have twice the phase, whatever the sign of each pixel: their median is
the delay. No feature is tracked, and no calibration of the camera is needed. After Realtime-VLA V2
(arXiv 2603.26360), which calibrates a loop's delay by a sine that the camera sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dygro_ros.errors import UserError

Array = NDArray[np.float64]

# A period after which a camera of 30 pictures a second looks at other phases: had each period the same ones,
# the moment at which an edge passes a pixel would be known to 33 ms only.
PERIOD_S = 50.618 / 30
# The lag of the drives of the simulated cell, which the policy has learned with [s]; measured by
# tests/test_delay_calibration.py.
CELL_LAG_S = 0.047
# Pictures are judged at this width [px].
JUDGED_PX = 160
# A pixel that swings by fewer grey levels does not count, and this many pixels must count.
LEAST_SWING, LEAST_PIXELS = 2.0, 10
# Below this, what moves most in the picture does not move with the joint.
LEAST_COHERENCE = 0.7
# A delay below zero by this much of the period is measured as such, not as one of half a period more.
NEGATIVE_SHARE = 0.125


class CalibrationError(UserError):
    """The measurement does not say what the delay is; the message says why."""


@dataclass(frozen=True)
class Lag:
    """By how much one signal is later than another."""

    delay_s: float
    """[s]."""
    error_s: float
    """Standard error, from one period to the next [s]."""
    coherence: float
    """1 where everything that moves, moves with the joint; about 0 where nothing does."""


def judged(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture, (H, W, 3) RGB, as it is judged: grey, (h, JUDGED_PX)."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    size = (JUDGED_PX, round(JUDGED_PX * grey.shape[0] / grey.shape[1]))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.uint8)


def amplitudes(times_s: Array, values: NDArray[np.floating], period_s: float) -> NDArray[np.complex128]:
    """Return each signal's complex amplitude A, fitted as offset + drift + Re(A e^(i w t)) + 2nd harmonic.

    Args:
        times_s: (n,) [s], at any spacing.
        values: (n, k).
        period_s: Of the sine [s].
    """
    phase = 2 * np.pi * times_s / period_s
    columns = [
        np.ones_like(phase),
        phase,
        np.cos(phase),
        -np.sin(phase),
        np.cos(2 * phase),
        np.sin(2 * phase),
    ]
    fitted = np.linalg.pinv(np.stack(columns, axis=1)) @ values
    found: NDArray[np.complex128] = fitted[2] + 1j * fitted[3]
    return found


def lag_of_pictures(
    command_times_s: Array,
    commands: Array,
    picture_times_s: Array,
    pictures: NDArray[np.floating],
    period_s: float,
) -> Lag:
    """Return by how much the pictures are later than the commands, from -1/8 to 3/8 of the period.

    Args:
        command_times_s: (n,) [s].
        commands: (n,) of the joint [rad].
        picture_times_s: (m,) stamps of the pictures, on the same clock [s].
        pictures: (m, P) grey values.
        period_s: Of the sine [s].

    Raises:
        CalibrationError: Less than three periods, or the picture does not move with the joint.
    """
    start_s = max(command_times_s[0], picture_times_s[0])
    periods = int((min(command_times_s[-1], picture_times_s[-1]) - start_s) / period_s)
    if periods < 3:
        raise CalibrationError(f"at least three periods of {period_s:.2f} s are needed, got {periods}")
    whole = amplitudes(picture_times_s - start_s, pictures, period_s)
    moving = np.abs(whole) >= LEAST_SWING
    if moving.sum() < LEAST_PIXELS:
        raise CalibrationError(
            f"{moving.sum()} pixels move with the joint by {LEAST_SWING:g} grey levels or more, expected at "
            f"least {LEAST_PIXELS}: is the arm in view, and is its swing large enough?"
        )
    squares = whole[moving] ** 2
    coherence = float(np.abs(squares.sum()) / np.abs(squares).sum())
    if coherence < LEAST_COHERENCE:
        raise CalibrationError(
            f"what moves in the picture does not move with the joint (coherence {coherence:.2f}, expected "
            f"at least {LEAST_COHERENCE}): is anything else moving, or the light flickering?"
        )
    reference = amplitudes(command_times_s - start_s, commands[:, np.newaxis], period_s)[0]
    delay_s = _delay_s(whole[moving] / reference, period_s)
    single_s = []
    for index in range(periods):
        begin_s = start_s + index * period_s
        inside = (picture_times_s >= begin_s) & (picture_times_s < begin_s + period_s)
        one = amplitudes(picture_times_s[inside] - start_s, pictures[inside][:, moving], period_s)
        single_s.append(_delay_s(one / reference, period_s))
    return Lag(delay_s, float(np.std(single_s, ddof=1) / np.sqrt(periods)), coherence)


def lag_of_joint(
    command_times_s: Array, commands: Array, state_times_s: Array, states: Array, period_s: float
) -> float:
    """Return by how much a measured joint is later than its commands [s], from -1/2 to 1/2 of the period."""
    start_s = command_times_s[0]
    commanded = amplitudes(command_times_s - start_s, commands[:, np.newaxis], period_s)[0]
    moved = amplitudes(state_times_s - start_s, states[:, np.newaxis], period_s)[0]
    return float(-np.angle(moved / commanded) * period_s / (2 * np.pi))


def _delay_s(ratios: NDArray[np.complex128], period_s: float) -> float:
    """Return the delay of signals whose complex amplitudes are given over the command's, up to their sign."""
    squares = ratios**2
    common = squares.sum() / np.abs(squares.sum())
    twice_phase = np.angle(common) + np.median(np.angle(squares / common))
    half_s = period_s / 2
    delay_s = -twice_phase / (2 * np.pi) * half_s
    return float((delay_s + NEGATIVE_SHARE * period_s) % half_s - NEGATIVE_SHARE * period_s)
