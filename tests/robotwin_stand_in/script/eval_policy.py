"""The classic evaluation, two episodes long: the same calls in the same order as RoboTwin's."""

import argparse
import importlib
import json
import os
import sys

sys.path.append("./")
sys.path.append("./policy")
sys.path.append("./description/utils")

import yaml
from envs import CONFIGS_PATH
from envs.utils.create_actor import UnStableError
from generate_episode_instructions import generate_episode_descriptions


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml.safe_load(file)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--overrides", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    usr_args = read(options.config)
    for key, value in zip(options.overrides[::2], options.overrides[1::2], strict=True):
        usr_args[key.lstrip("-")] = int(value) if value.isdigit() else value
    args = read(os.path.join(CONFIGS_PATH, f"{usr_args['task_config']}.yml"))
    args["task_name"] = usr_args["task_name"]
    robots = read(os.path.join(CONFIGS_PATH, "_embodiment_config.yml"))
    config = read(os.path.join(robots[args["embodiment"][0]]["file_path"], "config.yml"))
    args["left_embodiment_config"] = args["right_embodiment_config"] = config
    args["eval_mode"] = True
    usr_args["left_arm_dim"] = usr_args["right_arm_dim"] = len(config["arm_joints_name"][0])

    policy = importlib.import_module(usr_args["policy_name"])
    model = policy.get_model(usr_args)
    env = getattr(importlib.import_module(f"envs.{args['task_name']}"), args["task_name"])()
    seed, results = 100000 * (1 + usr_args["seed"]), []
    while len(results) < 2:
        try:
            env.setup_demo(seed=seed, now_ep_num=len(results), is_test=True, **args)
            info = env.play_once()
            env.close_env()
        except (UnStableError, IndexError):
            seed += 1
            continue
        if not (env.plan_success and env.check_success()):
            seed += 1
            continue
        env.setup_demo(seed=seed, now_ep_num=len(results), is_test=True, **args)
        texts = generate_episode_descriptions(args["task_name"], [info["info"]], 100)
        env.set_instruction(instruction=texts[0][usr_args["instruction_type"]][0])
        policy.reset_model(model)
        while env.take_action_cnt < env.step_lim:
            policy.eval(env, model, env.get_obs())
            if env.eval_success:
                break
        results.append([seed, bool(env.eval_success), env.take_action_cnt, env.pictures_taken])
        seed += 1
    with open("results.json", "w", encoding="utf-8") as file:
        json.dump({"results": results, "ckpt_setting": usr_args["ckpt_setting"]}, file)


if __name__ == "__main__":
    main()
