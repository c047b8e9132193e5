"""The trackers a recipe asks for beside metrics.jsonl."""

from __future__ import annotations

from collections.abc import Callable

from trunkline.build.assemble import Assembly, model_config
from trunkline.launch.runs import RunFolder
from trunkline.monitor.wandb import Wandb


def tracked(folder: RunFolder, built: Assembly, report: Callable[..., None], *, resumed: bool) -> list[Wandb]:
    """A W&B run of the run's own name, if the recipe has one. report: told of what happens to it."""
    track = built.recipe.track.wandb
    if track is None:
        return []
    wandb = Wandb(
        track.project,
        track.mode,
        folder=folder.path,
        run_id=folder.run_id,
        resume=resumed,
        name=folder.run_id,
        entity=track.entity,
        group=track.group,
        tags=track.tags,
        config=model_config(built),
        summaries=built.summaries,
        stop=folder.stop.touch,
        report=report,
    )
    return [wandb]
