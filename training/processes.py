"""Stage I on several processes, one GPU each: every number of processes computes the same training.

    torchrun --standalone --nproc-per-node 8 -- training/train_sim.py --preset base ...

Each process encodes its own rows of the batch, which is nearly all of the work. Latents and features are then
gathered, and all processes compute the joint batch's losses: the information bound is no mean over frames, so
an average over processes of each one's own loss would be another loss. torch's DistributedDataParallel adds
up the gradients while the backward pass still runs. Knows nothing of what is trained.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import torch
import torch.distributed as distributed
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from dygro_ros.errors import UserError

DeviceName = Literal["cpu", "cuda"]
# The others wait for the first process while it collects demonstrations, which can take hours.
PATIENCE = timedelta(days=2)
# What torchrun tells its processes.
TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Processes:
    """This process's place among those that train together."""

    rank: int = 0
    """0 is the main one: it alone writes files."""
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """Return this process's rows of a joint batch.

        Raises:
            UserError: The batch cannot be divided.
        """
        if batch_size % self.count:
            raise UserError(
                f"--pretrain.batch-size {batch_size} must be a multiple of {self.count} processes"
            )
        own = batch_size // self.count
        return slice(self.rank * own, (self.rank + 1) * own)

    def gather(self, own: Tensor) -> Tensor:
        """Return the joint batch of what each process holds of it, (B / count, ...) -> (B, ...)."""
        if self.count == 1:
            return own
        return _Gather.apply(own, self)  # type: ignore[no-any-return,no-untyped-call]

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return the module such that backward passes add gradients up over the processes."""
        if self.count == 1:
            return module
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(module, device_ids=devices, broadcast_buffers=False)

    def average_gradients(self, module: nn.Module) -> None:
        """Make equal what each process has computed alike, up to the last bits that differ on GPUs."""
        if self.count == 1:
            return
        for parameter in module.parameters():
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= self.count

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.count > 1:
            distributed.barrier()


ALONE = Processes()


class _Gather(torch.autograd.Function):
    """All processes compute the same joint loss, so each one's rows already have their whole gradient.

    DistributedDataParallel averages over processes where the joint gradient is their sum, hence the factor.
    """

    @staticmethod
    def forward(context: Any, own: Tensor, processes: Processes) -> Tensor:
        context.processes = processes
        parts = [torch.empty_like(own) for _ in range(processes.count)]
        distributed.all_gather(parts, own.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        processes: Processes = context.processes
        return gradient[processes.rows(len(gradient))] * processes.count, None


@contextmanager
def joined(device: DeviceName, environment: Mapping[str, str] = os.environ) -> Iterator[Processes]:
    """Join the processes that `torchrun` started; without it this process is alone.

    Raises:
        UserError: There is no GPU for this process, or WORLD_SIZE was set by another than torchrun.
    """
    count = int(environment.get("WORLD_SIZE", "1"))
    lacking = [name for name in TORCHRUN if name not in environment]
    if count > 1 and lacking:
        raise UserError(
            f"WORLD_SIZE is {count}, but {', '.join(lacking)} not set: start it by torchrun, which sets them "
            "all, or unset WORLD_SIZE to train in one process"
        )
    local = int(environment.get("LOCAL_RANK", "0"))
    if device == "cuda" and torch.cuda.device_count() <= local:
        raise UserError(
            f"--device cuda needs {local + 1} GPU(s), torch {torch.__version__} sees "
            f"{torch.cuda.device_count()}: choose --device cpu, or a build of torch for your driver "
            "(https://pytorch.org/get-started/locally)"
        )
    place = torch.device("cuda", local) if device == "cuda" else torch.device("cpu")
    if count == 1:
        yield Processes(device=place)
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield Processes(distributed.get_rank(), distributed.get_world_size(), place)
    finally:
        distributed.destroy_process_group()
