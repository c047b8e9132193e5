"""Ray's torch backend, whose workers also listen to SIGTERM."""

from __future__ import annotations

from typing import Any

from ray.train.torch import TorchConfig
from ray.train.torch.config import _TorchBackend

from trunkline.launch.signals import listen


class ListeningBackend(_TorchBackend):
    """Signals are taken in a worker's main thread alone, where this runs; training has a thread of its own."""

    def on_training_start(self, worker_group: Any, backend_config: Any) -> None:
        super().on_training_start(worker_group, backend_config)
        worker_group.execute(listen)


class ListeningConfig(TorchConfig):
    """A TorchConfig for workers that stop after a step when they are asked to."""

    @property
    def backend_cls(self) -> type[ListeningBackend]:
        return ListeningBackend
