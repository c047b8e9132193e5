"""What Prometheus sees of a run."""

from __future__ import annotations

from trunkline.monitor.ray_metrics import COUNTERS, GAUGES, RayMetrics, ray_metrics


class Seen:
    """Stands where Ray's agent does: the last value of every label set."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def make(self, name, description, tag_keys):
        assert description and tag_keys[0] == "run"
        seen = self

        class Metric:
            def set(self, value, tags):
                assert set(tags) == set(tag_keys)
                seen.values[(name, *tags.values())] = value

            def inc(self, value, tags):
                key = (name, *tags.values())
                seen.values[key] = seen.values.get(key, 0) + value

        return Metric()


def test_figures_and_events_become_metrics_by_run_and_task(tmp_path):
    folder = tmp_path / "quick-1"
    folder.mkdir()
    (folder / "events.jsonl").write_text('{"event": "attempt_failed"}\n{"event": "training"}\n{"event": "attempt_fai')
    seen, times = Seen(), iter([100.0, 110.0, 130.0, 131.0])
    metrics = RayMetrics(folder, seen.make, seen.make, clock=lambda: next(times))
    metrics.log(10, {"train/tone/loss": 0.5, "train/tokens": 1000.0, "system/tokens_per_s": 100.0, "lr": 1.0})
    metrics.log(20, {"train/tone/loss": 0.25, "train/tokens": 2000.0, "system/tokens_per_s": 100.0})
    metrics.log(20, {"eval/tone/accuracy": 0.75, "eval/skill": 0.5})
    for name in ("non_finite", "non_finite", "checkpoint", "checkpoint_failed"):
        metrics.event(name, step=1)
    metrics.close()
    assert seen.values == {
        ("trunkline_restarts", "quick-1"): 1,
        ("trunkline_step", "quick-1"): 20,
        ("trunkline_step_seconds", "quick-1"): 2.0,
        ("trunkline_last_step_time_seconds", "quick-1"): 131.0,
        ("trunkline_tokens_per_s", "quick-1"): 100.0,
        ("trunkline_task_loss", "quick-1", "tone"): 0.25,
        ("trunkline_task_metric", "quick-1", "tone", "accuracy"): 0.75,
        ("trunkline_effective_share", "quick-1"): 10 / 30,  # 1000 tokens at 100 a second, of 30 seconds
        ("trunkline_steps_left_out", "quick-1"): 2,
        ("trunkline_checkpoints_failed", "quick-1"): 1,
    }
    assert {key[0] for key in seen.values} == {*GAUGES, *COUNTERS}


def test_outside_ray_there_are_none(tmp_path):
    assert ray_metrics(tmp_path) == []
