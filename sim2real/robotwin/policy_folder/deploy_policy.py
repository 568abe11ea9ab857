"""RoboTwin imports this under its own name, by way of a link: so it has to find our packages first."""

import sys
from pathlib import Path

_OURS = Path(__file__).resolve().parents[3]
if not (_OURS / "setup.py").is_file():
    raise ImportError(
        f"{_OURS} is no checkout of dygro_ros, and the packages in it are not for this interpreter: link a "
        "checkout's policy by python -m sim2real.robotwin.link_policy"
    )
# First, so that no other copy of ours that may be installed there stands in for the one that is linked.
sys.path.insert(0, str(_OURS))

from sim2real.robotwin.versions import POLICY, policy_remedy, require  # noqa: E402

require(POLICY, policy_remedy())

from sim2real.robotwin.classic import encode_obs, eval, get_model, reset_model  # noqa: E402

__all__ = ["encode_obs", "eval", "get_model", "reset_model"]
