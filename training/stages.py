"""The stages of a run, in their order: demonstrations, Stage I, Stage II, bundle, evaluation.

Each stage leaves its result in a folder of the run and does nothing when that is already whole, so a resumed
run goes on with the first unfinished one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track

from dygro_ros.checkout import current_commit
from dygro_ros.manifest import TrainingSpec
from models.base_policy import BasePolicy, VisionLanguageConfig
from models.dygro_policy import DygroPolicy
from models.residual import ResidualPolicy
from sim2real.cell.work_cell import WorkCell
from sim2real.evaluate_sim import FILMS_FILE, REPORT_FILE, EvaluateSim
from sim2real.evaluate_sim import run as run_evaluation
from sim2real.evaluation_summary import BASE, POLICY, result_table
from sim2real.export import cell_golden_inputs, export_bundle, facts_of
from sim2real.report import write_report
from sim2real.seeds import SeedPurpose, seeds_for
from training.backbone_weights import load_backbone
from training.checkpoint import has_state, load_state, save_state
from training.config import TrainConfig
from training.dataset import FrameDataset
from training.demonstration_stage import Files, critics_see_demonstrations, read_demonstrations
from training.episodes import Episode
from training.evaluation_scenes import evaluation_scenes
from training.methods.sft import fine_tune
from training.online import OnlineTraining
from training.placement import (
    STAGE_ONE,
    base_folder,
    codec_of_run,
    engine_for,
    on_ray,
    placed,
    rollout_spec,
)
from training.pretrain import pretrain
from training.processes import ALONE, Processes
from training.rollouts import to_weights
from training.run_folder import fingerprint, fingerprint_hash
from training.stage_one import (
    WEIGHTS_FILE,
    build_residual,
    encode_demonstrations,
    load_base_policy,
    save_base_policy,
)
from training.world_evaluation import Contestant, WorldEvaluation, evaluate_in_world
from training.world_films import FilmWorker, film_in_world

STAGE_TWO, FINAL, BUNDLE, BASE_BUNDLE, EVALUATION = (
    "stage_two", "final", "bundle", "base_bundle", "evaluation",
)  # fmt: skip
GOLDEN_FRAMES_PER_TASK = 2


def make_base_policy(config: TrainConfig, files: Files, processes: Processes = ALONE) -> BasePolicy:
    """Return the frozen Stage I policy, the base run's if one is given, training it if there is none yet."""
    if config.base_run is not None:
        return load_base_policy(config.base_run / STAGE_ONE)
    folder = config.run / STAGE_ONE
    if not (folder / WEIGHTS_FILE).is_file():
        dataset = _load(config, files)
        policy = pretrain(
            config.pretrain,
            config.network,
            dataset,
            folder,
            resume=config.resume,
            start=_pretrained(config, dataset),
            processes=processes,
        )
        if processes.main:
            save_base_policy(folder, policy, codec_of_run(config))
    processes.wait()
    return load_base_policy(folder)


def _pretrained(config: TrainConfig, dataset: FrameDataset) -> BasePolicy | None:
    """Return a policy with the towers' weights to start from; None where all starts from scratch."""
    if not isinstance(config.network, VisionLanguageConfig):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        policy = BasePolicy(config.network, dataset.action_space())
    load_backbone(policy.backbone, config.network, config.backbone)
    return policy


def _load(config: TrainConfig, files: Files) -> FrameDataset:
    return FrameDataset(
        read_demonstrations(config, files), config.network.chunk, config.simulated_world, codec_of_run(config)
    )


def make_policy(
    config: TrainConfig, base: BasePolicy, files: Files, processes: Processes = ALONE
) -> tuple[DygroPolicy, int]:
    """Return the trained policy and its online environment steps, training what is missing."""
    if config.method == "sft":
        folder = config.run / STAGE_TWO
        if not (folder / WEIGHTS_FILE).is_file():
            dataset = _load(config, files)
            tuned = fine_tune(
                config.sft, config.pretrain, base, dataset, folder, resume=config.resume, processes=processes
            )
            if processes.main:
                save_base_policy(folder, tuned, codec_of_run(config))
        processes.wait()
        return DygroPolicy(load_base_policy(folder), None).eval(), 0
    final = config.run / FINAL
    residual = build_residual(base, config.residual, config.simulated_world)
    if not has_state(final):
        average, steps = _train_online(config, base, files)
        save_state(
            final,
            {"residual": average.state_dict()},
            {"environment_steps": steps},
            fingerprint=fingerprint(config),
        )
    tensors, scalars = load_state(final, fingerprint=fingerprint(config))
    residual.load_state_dict(tensors["residual"])
    return DygroPolicy(base, residual).eval(), int(scalars["environment_steps"])


def _train_online(config: TrainConfig, base: BasePolicy, files: Files) -> tuple[ResidualPolicy, int]:
    with placed(config, base) as (method, engine):
        training = OnlineTraining(
            config.online,
            method,
            engine,
            config.run / STAGE_TWO,
            tasks=config.tasks,
            known_tasks=config.simulated_world.tasks,
            seed=config.seed,
            fingerprint=fingerprint(config),
        )
        training.run(_offline_episodes(config, base, files), resume=config.resume)
        return method.average, training.environment_steps


def _offline_episodes(config: TrainConfig, base: BasePolicy, files: Files) -> Iterator[Episode]:
    if not critics_see_demonstrations(config):
        return iter(())
    world = config.simulated_world
    coefficients = build_residual(base, config.residual, world).coefficients
    shown = track(files, description="encoding demonstrations")
    return encode_demonstrations(
        base.to(config.device),
        read_demonstrations(config, shown),
        tasks=world.tasks,
        coefficients=coefficients,
        codec=codec_of_run(config),
    )


def make_bundle(config: TrainConfig, policy: DygroPolicy, environment_steps: int) -> Path:
    """Export the policy as a bundle; returns its folder."""
    return _export(config, policy, config.run / BUNDLE, config.method, environment_steps)


def make_base_bundle(config: TrainConfig, base: BasePolicy) -> Path:
    """Export the Stage I policy alone; returns the bundle's folder."""
    return _export(config, DygroPolicy(base, None).eval(), config.run / BASE_BUNDLE, "base", 0)


def _export(config: TrainConfig, policy: DygroPolicy, out: Path, method: str, environment_steps: int) -> Path:
    if out.exists():
        return out
    spec = TrainingSpec(
        method=method,
        commit=current_commit(),
        seed=config.seed,
        environment_steps=environment_steps,
        tasks=config.tasks,
        config_fingerprint=fingerprint_hash(config),
    )
    os.environ.setdefault("MUJOCO_GL", "egl")
    cell = WorkCell(image_size=config.network.image_size, wrist_cameras=config.network.cameras > 1)
    try:
        seeds = seeds_for(SeedPurpose.TESTS, 0, 0, GOLDEN_FRAMES_PER_TASK)
        golden = cell_golden_inputs(cell, config.tasks, seeds)
    finally:
        cell.close()
    facts = facts_of(policy.cpu(), spec, codec_of_run(config))
    export_bundle(policy, facts, golden, out, precision=config.precision, provider=config.device)
    return out


def evaluate(config: TrainConfig, bundle: Path, base_bundle: Path) -> None:
    """Evaluate the bundle against its base on unseen seeds; prints the table and writes the report."""
    options = EvaluateSim(
        bundle=bundle,
        out=config.run / EVALUATION,
        base=base_bundle,
        tasks=config.tasks,
        episodes=config.evaluation.episodes,
        evaluation_seed=config.evaluation.seed,
        randomization=config.randomization,
        workers=config.workers,
        provider=config.device,
        run=config.run,
    )
    arguments = [
        str(bundle), "--base", str(base_bundle), "--out", str(options.out),
        "--tasks", *config.tasks, "--episodes", str(options.episodes),
        "--evaluation-seed", str(options.evaluation_seed), "--randomization", options.randomization,
        "--provider", options.provider, "--run", str(config.run),
    ]  # fmt: skip
    run_evaluation(options, arguments)


def evaluate_policy_in_world(
    config: TrainConfig, base: BasePolicy, policy: DygroPolicy, environment_steps: int
) -> None:
    """Evaluate a policy that has no bundle against its base; prints the table and writes the report."""
    out = config.run / EVALUATION
    scenes = evaluation_scenes(config, out)
    world = scenes.world
    base_weights = to_weights(build_residual(base, config.residual, world))

    engine = partial(engine_for, config, world=world)
    own_base = config.run / STAGE_TWO if policy.residual is None else base_folder(config)
    weights = base_weights if policy.residual is None else to_weights(policy.residual)
    evaluation = WorldEvaluation(
        contestants=(
            Contestant(
                BASE,
                "base",
                0,
                partial(engine, base_folder(config)),
                base_weights,
                executes_residual=False,
            ),
            Contestant(
                POLICY,
                config.method,
                environment_steps,
                partial(engine, own_base),
                weights,
                executes_residual=policy.residual is not None,
            ),
        ),
        tasks=config.tasks,
        known_tasks=world.tasks,
        seeds=scenes.seeds,
        training_seed=config.seed,
        commit=current_commit(),
        identity={"world": world.name, "configuration": fingerprint_hash(config), **scenes.passed_over},
    )
    with on_ray(config):
        results = evaluate_in_world(evaluation, out)
    console = Console()
    console.print(result_table(results))
    worker = FilmWorker(
        rollout_spec(config, own_base, world), weights, executes_residual=policy.residual is not None
    )
    films, page = out / FILMS_FILE, out / REPORT_FILE
    strips, left_out = film_in_world(results, worker, films, workers=config.workers)
    if left_out:
        console.print(
            f"[yellow]{left_out} of {left_out + strips} films are left out: run again on this machine, the "
            "episode did not end as it was counted."
        )
    write_report(results, page, films=films if strips else None, run=config.run)
    console.print(f"Report: {page}", soft_wrap=True)
