"""The folder that RoboTwin's classic evaluation knows as `policy/DyGRO`: a link to this one."""

from .deploy_policy import encode_obs, eval, get_model, reset_model

__all__ = ["encode_obs", "eval", "get_model", "reset_model"]
