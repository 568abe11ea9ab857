import os
from functools import partial

import numpy as np
import pytest
import torch
from online_fixtures import CONFIG, FakeEngine, demonstrations, method, records, training
from ray_fixtures import small_ray
from stage_two_fixtures import random_episode

from dygro_ros.errors import UserError
from sim2real.worker_pool import WorkerError
from training.ray_learner import RemoteMethod
from training.ray_session import RayConfig


@pytest.fixture(scope="module")
def ray():
    with small_ray(2) as session:
        yield session


@pytest.mark.parametrize("kind", ["dygro", "ppo"])
def test_a_remote_learner_learns_what_a_local_one_does_even_interrupted(ray, tmp_path, kind):
    local = training(tmp_path / "local", FakeEngine(), kind)
    local.run(demonstrations(), resume=False)

    def run(engine, resume):
        remote = RemoteMethod(partial(method, kind))
        try:
            run = training(tmp_path / "remote", engine, learner=remote, kind=kind)
            run.run(demonstrations(), resume=resume)
            return remote, remote.modules()
        finally:
            remote.close()

    with pytest.raises(KeyboardInterrupt):
        run(FakeEngine(4), resume=False)
    remote, modules = run(FakeEngine(), resume=True)
    assert records(tmp_path / "local") == records(tmp_path / "remote")
    for name, module in local.method.modules().items():
        for key, value in module.state_dict().items():
            assert torch.equal(value, modules[name].state_dict()[key]), (name, key)
    for own, other in ((local.method.actor, remote.actor), (local.method.average, remote.average)):
        for key, value in own.state_dict().items():
            assert torch.equal(value, other.state_dict()[key]), key
    assert (tmp_path / "local" / "warmup.jsonl").read_text() == (
        tmp_path / "remote" / "warmup.jsonl"
    ).read_text()
    assert remote.name == local.method.name
    assert CONFIG.environment_steps <= local.environment_steps


class Troubled:
    """The small method, whose `learn` tells its threads, stops or ends by the number of episodes."""

    def __init__(self):
        self._method = method("dygro")

    def __getattr__(self, name):
        return getattr(self.__dict__["_method"], name)

    def learn(self, fresh):
        if len(fresh) == 1:
            return {"threads": float(torch.get_num_threads())}
        if len(fresh) == 2:
            raise UserError("two are of no use")
        os._exit(3)


def test_threads_are_as_many_as_asked_and_what_goes_wrong_is_named(ray, generator_of_episodes):
    remote = RemoteMethod(Troubled, threads=2)
    assert remote.learn(generator_of_episodes(1)) == {"threads": 2.0}
    with pytest.raises(UserError, match=r"^two are of no use$"):
        remote.learn(generator_of_episodes(2))
    with pytest.raises(
        WorkerError, match=r"^the learner on node \S+ ended during learn: SYSTEM_ERROR.*checkpoint"
    ):
        remote.learn(generator_of_episodes(3))


@pytest.fixture
def generator_of_episodes():
    rng = np.random.default_rng(0)
    return lambda count: [random_episode(rng) for _ in range(count)]


def test_a_learner_that_does_not_start_or_answer_in_time_is_an_error(ray, monkeypatch):
    with pytest.raises(
        WorkerError, match=r"^the learner did not finish prepare within 0.01 s \(--ray.start-limit"
    ):
        RemoteMethod(partial(method, "ppo"), RayConfig(start_limit_s=0.01))
    remote = RemoteMethod(partial(method, "ppo"), RayConfig(learner_limit_s=0.0001))
    with pytest.raises(
        WorkerError, match=r"did not finish load_online within 0.0001 s \(--ray.learner-limit-s\)"
    ):
        remote.load_online([])


def test_another_version_on_the_node_is_refused(ray, monkeypatch):
    monkeypatch.setattr("training.ray_learner.versions", lambda: {"numpy": "0.1"})
    with pytest.raises(UserError, match=r"another version of numpy"):
        RemoteMethod(partial(method, "ppo"))
