"""Events: one kind, one listener."""

from astroprism.progress import Progress, count, message, silent, staged, warning


def test_events_print_as_a_line():
    assert str(message("grid: 5880:5920:5kms")) == "grid: 5880:5920:5kms"
    assert str(warning("few spectra")) == "warning: few spectra"
    assert str(count(1200, 3000)) == "1,200 of 3,000"
    assert str(Progress("start", "train")) == "train: start"
    assert str(Progress("message", "train", "timing some steps")) == "train: timing some steps"


def test_the_verb_stamps_its_stage_and_keeps_an_inner_one():
    events = []
    listen = staged("find", events.append)
    listen(message("x"))
    listen(Progress("count", "train", done=1, total=2))
    assert [event.stage for event in events] == ["find", "train"]
    assert staged("find", None) is silent
    assert silent(message("x")) is None
