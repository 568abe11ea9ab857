"""What an evaluation was made with: the bundles' hashes, the robot's limits, commit and versions."""

from __future__ import annotations

import hashlib
import platform
from typing import Any

from dygro_ros.bundle import read_bundle
from dygro_ros.checkout import current_commit
from dygro_ros.distributions import installed
from dygro_ros.evaluation.plan import EvaluationPlan
from dygro_ros.robot_profile import profile_path, read_profile

SOFTWARE = ("dygro_ros", "numpy", "onnxruntime")


def provenance(plan: EvaluationPlan) -> dict[str, Any]:
    """Return what the ledger opens with, as plain JSON values. Names no policy.

    Raises:
        UserError: A bundle or the robot's profile cannot be read.
    """
    # Sorted, so that the order does not tell which policy has which bundle.
    bundles = sorted({read_bundle(policy.bundle).fingerprint for policy in plan.policies.values()})
    limits = read_profile(plan.robot).arm_bridge.limits
    return {
        "bundles": bundles,
        "profile": hashlib.sha256(profile_path(plan.robot).read_bytes()).hexdigest(),
        "limits": {name: list(value) for name, value in limits.model_dump(mode="json").items()},
        "commit": current_commit(),
        "software": {
            "python": platform.python_version(),
            **{name: installed(name)[1] for name in SOFTWARE},
        },
    }
