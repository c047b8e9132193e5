"""What a person hears of, and how often."""

from __future__ import annotations

from trunkline.monitor.alerts import Alerts


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_event_that_matters_is_an_alert_and_another_is_not():
    alerts = Alerts({})
    assert alerts.of_event("checkpoint", {"step": 1}) is None
    found = alerts.of_event("non_finite", {"step": 7, "what": "gradient", "tasks": ["tone"]})
    assert (found.level, found.text) == ("WARN", "The gradient of step 7 is not finite, in tone.")
    assert alerts.of_event("checkpoint_failed", {"step": 8, "reason": "disk full"}).level == "ERROR"
    assert alerts.of_event("finished", {"steps": 9}).level == "INFO"


def test_alerts_of_one_title_come_at_intervals_and_are_counted():
    clock = Clock()
    alerts = Alerts({}, every_s=60, most=3, clock=clock)
    given = []
    for clock.now in (0, 1, 59, 60, 61, 120, 180, 240):
        given.append(alerts.of_event("non_finite", {"step": 1}) is not None)
    assert given == [True, False, False, True, False, True, False, False]
    assert alerts.of_event("finished", {"steps": 1}) is None  # three is enough


def test_a_task_that_falls_below_its_best_is_told_once_with_both_figures():
    clock = Clock()
    alerts = Alerts({"eval/a/accuracy": "max", "eval/b/mae": "min", "train/a/loss": "last"}, clock=clock)
    assert alerts.of_figures(1, {"eval/a/accuracy": 0.8, "eval/b/mae": 2.0, "train/a/loss": 1.0}) is None
    assert alerts.of_figures(2, {"eval/a/accuracy": 0.75, "eval/b/mae": 2.1, "train/a/loss": 9.0}) is None  # within a tenth
    found = alerts.of_figures(3, {"eval/a/accuracy": 0.71, "eval/b/mae": 3.0})
    assert found.text == "eval/b/mae is 3 at step 3; its best was 2."
    assert alerts.of_figures(4, {"eval/b/mae": 3.0}) is None
    assert Alerts({"eval/b/mae": "max"}).of_figures(1, {"eval/b/mae": 3.0}) is None


def test_the_other_direction_is_no_regression():
    alerts = Alerts({"eval/b/mae": "min"})
    assert [alerts.of_figures(step, {"eval/b/mae": value}) for step, value in ((1, 2.0), (2, 0.1))] == [None, None]
