"""trunkline: one shared text trunk, a head per task, trained over GPU nodes with Ray and DeepSpeed.

>>> import trunkline
>>> result = trunkline.train("recipes/quickstart.yaml")
>>> model = trunkline.load(result.model)
>>> model.predict("review_sentiment", ["很好吃"])  # one answer per row
>>> model.embed(["two texts", "two vectors"])  # float32 [2, D]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trunkline.launch.local import Result
    from trunkline.predict import Model

__version__ = "0.1.0"
__all__ = ["__version__", "load", "train"]


def train(
    recipe: str | Path,
    *,
    overrides: Sequence[str] = (),
    resume: bool | str = False,
    keep_recipe: bool = False,
    in_process: bool = False,
    outputs: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Result:
    """Trains a recipe on this machine and returns where the run is and how every task did.

    overrides: `key.key=value` as for `-s`. resume: True for the newest unfinished run of the recipe, or a run id.
    keep_recipe: resume with the run's own recipe though the file has changed; otherwise that is a UsageError with the changes.
    in_process: no Ray, this process is the only worker. outputs: where run folders go, by default `outputs/` of the
    project. say: told what happens before training starts. Of a recipe with stages, the last one's result.
    Raises TrunklineError (ConfigError, DataError, ...).
    """
    from trunkline.workflows.stages import train as run

    return run(
        recipe, overrides=overrides, resume=resume, keep_recipe=keep_recipe, in_process=in_process, outputs=outputs, say=say
    )


def load(folder: str | Path, *, catalog: str | Path | None = None) -> Model:
    """Opens the model folder of a finished run, every file verified by hash. Raises ConfigError, IntegrityError.

    catalog: a folder of cards whose `plugin.py` holds the model's own heads or metrics; not needed for built-in ones.
    """
    from trunkline.build.model import load_model
    from trunkline.tasks.catalog import Catalog

    return load_model(folder, Catalog([catalog]) if catalog is not None else None)
