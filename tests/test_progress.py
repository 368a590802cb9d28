"""Events: one kind, one listener."""

from astroprism.progress import Progress, count, message, once, silent, staged, warning


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


def test_what_was_said_is_not_said_again():
    events = []
    listen = once(events.append, said=["a smooth part is .19 of .33 rms"])
    for number in range(3):
        listen(message(f"a smooth part is .1{number} of .30 rms"))
        listen(message(f"step {400 + number}: a node went"))
        listen(warning("few spectra"))
        listen(count(number, 3))
    assert [str(event) for event in events] == ["step 400: a node went", "0 of 3", "1 of 3", "2 of 3"]
