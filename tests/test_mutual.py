"""Entropies and mutual information against answers known in closed form or by quadrature."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from astroprism import measures
from astroprism.measures import (
    EvidenceError,
    code_information,
    conditional_mutual_information,
    mutual_information,
    neighbours,
    nulls,
    sampled_codes,
    screened_information,
    spacing_entropy,
)
from astroprism.measures.evidence import one_per_target, ranks

HALF_LOG = 0.5 * np.log(2 * np.pi * np.e)


def gaussian(rho, n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, rho * x + np.sqrt(1 - rho**2) * rng.normal(size=n)


def nats(rho):
    return -0.5 * np.log(1 - rho**2)


def wavy_entropy(noise):
    """Entropy of sin(t) + noise for t even around the circle, by quadrature."""
    t = np.sin(2 * np.pi * (np.arange(4000) + 0.5) / 4000)
    y = np.linspace(-1 - 8 * noise, 1 + 8 * noise, 3001)
    density = np.zeros_like(y)
    for some in np.array_split(t, 20):
        density += np.exp(-0.5 * ((y[:, None] - some) / noise) ** 2).sum(axis=1)
    density /= density.sum() * (y[1] - y[0])
    return -np.sum(density * np.log(np.maximum(density, 1e-300))) * (y[1] - y[0])


# -- entropies and codes


@pytest.mark.parametrize("n", [500, 4_000])
def test_entropy_by_spacing(n):
    rng = np.random.default_rng(n)
    assert spacing_entropy(rng.uniform(0, 3, n)) == pytest.approx(np.log(3), abs=0.03)
    assert spacing_entropy(rng.exponential(size=n)) == pytest.approx(1, abs=0.1)
    assert spacing_entropy(5 * rng.normal(size=n)) == pytest.approx(HALF_LOG + np.log(5), abs=0.08)


def test_what_a_code_tells_and_how_well_that_is_known():
    """Dead, faint, fine, and two clumps far apart: next to no bias at 500 spectra, intervals that hold."""
    n, trials = 500, 60
    truth = [0.0, nats(0.5), 0.5 * np.log(1 + 1e6), np.nan]
    found = []
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        mean = np.column_stack(
            [np.zeros(n), 0.5 * rng.normal(size=n), rng.normal(size=n), rng.integers(0, 2, n) * 9.0]
        )
        sd = np.broadcast_to([1.0, np.sqrt(0.75), 1e-3, 1.0], (n, 4))
        one = code_information(mean, sd, seed=seed)
        found.append([one.nats, one.low, one.high])
    truth[3] = np.log(2)
    value, low, high = np.moveaxis(np.array(found), 1, 0)
    off = np.abs(value.mean(axis=0) - truth)
    assert off[:3].max() < 0.01
    assert off[3] < 0.05  # spacings across the gap between the clumps
    held = ((low <= truth) & (truth <= high)).mean(axis=0)
    assert (held[:3] > 0.8).all()
    assert value[:, 0].std() < 0.012  # a dead node: the noise is known, and taken out


def test_sampled_codes_are_seeded():
    mean, sd = np.zeros((50, 3)), np.full((50, 3), 2.0)
    assert np.array_equal(sampled_codes(mean, sd, seed=1), sampled_codes(mean, sd, seed=1))
    assert not np.array_equal(sampled_codes(mean, sd, seed=1), sampled_codes(mean, sd, seed=2))


# -- mutual information


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9, 0.99])
def test_gaussians(rho):
    results = [mutual_information(*gaussian(rho, 4_000, seed), null=0) for seed in range(6)]
    assert np.mean([one.nats for one in results]) == pytest.approx(nats(rho), abs=0.02)
    assert sum(one.low <= nats(rho) <= one.high for one in results) >= 4


@pytest.mark.parametrize("noise", [0.1, 0.3])
@pytest.mark.parametrize("waves", [1, 3])
def test_a_sine(waves, noise):
    rng = np.random.default_rng(3)
    x = rng.uniform(size=4_000)
    y = np.sin(2 * np.pi * waves * x) + noise * rng.normal(size=x.size)
    truth = wavy_entropy(noise) - HALF_LOG - np.log(noise)
    assert mutual_information(x, y, null=0).nats == pytest.approx(truth, abs=0.05)


def test_where_rows_are_too_few_for_a_shape_the_high_end_says_so():
    rng = np.random.default_rng(4)
    x = rng.uniform(size=500)
    y = np.sin(6 * np.pi * x) + 0.3 * rng.normal(size=500)
    found = mutual_information(x, y, null=0)
    truth = wavy_entropy(0.3) - HALF_LOG - np.log(0.3)
    assert found.nats < truth - 0.08
    assert found.high > truth - 0.08
    assert found.high - found.nats > 2 * (found.nats - found.low)


def test_a_ring_has_no_correlation_and_much_information():
    rng = np.random.default_rng(5)
    t = rng.uniform(0, 2 * np.pi, 4_000)
    x, y = np.cos(t) + 0.1 * rng.normal(size=t.size), np.sin(t) + 0.1 * rng.normal(size=t.size)
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.05
    assert mutual_information(x, y, null=0).nats == pytest.approx(0.679, abs=0.04)


def test_monotone_maps_change_nothing():
    x, y = gaussian(0.9, 2_000, 6)
    plain = mutual_information(x, y, null=0)
    assert mutual_information(np.exp(3 * x), -(y**3), null=0).nats == pytest.approx(plain.nats, abs=1e-9)


def test_ties_and_categories():
    """Three classes of a normal variable, as text, as integers (ties), and a censored Gaussian."""
    rng = np.random.default_rng(7)
    kind = rng.integers(0, 3, 4_000)
    x = 1.5 * kind + rng.normal(size=4_000)
    grid = np.linspace(-8, 11, 20_001)
    density = sum(np.exp(-0.5 * (grid - 1.5 * one) ** 2) for one in range(3)) / (3 * np.sqrt(2 * np.pi))
    truth = -(density * np.log(density)).sum() * (grid[1] - grid[0]) - HALF_LOG
    text = mutual_information(x, np.array(["F", "G", "K"])[kind], null=2_000)
    assert text.nats == pytest.approx(truth, abs=0.03)
    assert text.share == pytest.approx(truth / np.log(3), abs=0.03)
    assert text.p < 0.001
    assert mutual_information(x, kind, categorical=True, null=0).nats == pytest.approx(text.nats, abs=1e-9)
    assert mutual_information(x, kind, null=0).nats == pytest.approx(truth, abs=0.035)
    x, y = gaussian(0.9, 4_000, 8)
    assert mutual_information(x, np.maximum(y, -0.5), null=0).nats == pytest.approx(0.717, abs=0.04)


def test_a_category_of_one_row_is_reported():
    x, _ = gaussian(0, 100, 9)
    kind = np.array(["a"] * 60 + ["b"] * 39 + ["c"])
    found = mutual_information(x, kind, null=0)
    assert (found.n, found.used, found.left_out) == (100, 100, 1)


def test_blanks_are_left_out():
    x, y = gaussian(0.9, 1_000, 10)
    y[::4] = np.nan
    x[1] = np.inf
    assert mutual_information(x, y, null=0).n == 749
    kind = np.where(x > 0, "a", "b").astype(object)
    kind[:10], kind[10] = None, ""
    assert mutual_information(x, kind, null=0).n == 989


def test_large_tables_are_subsampled_and_say_so():
    found = mutual_information(*gaussian(0.6, 30_000, 11), rows=3_000, null=0)
    assert (found.n, found.used) == (30_000, 3_000)
    assert found.low < nats(0.6) < found.high


def test_visits_of_one_star_count_once():
    """A star's visits share its label: without targets they look like knowledge of it."""
    rng = np.random.default_rng(12)
    star = np.repeat(np.arange(300), rng.integers(1, 20, 300))
    x = rng.normal(size=300)[star] + 0.1 * rng.normal(size=star.size)
    y = rng.normal(size=300)[star]
    assert mutual_information(x, y, null=0).low > 0.3
    by_star = mutual_information(x, y, targets=star, null=2_000)
    assert by_star.n == 300
    assert by_star.low < 0.02
    assert by_star.p > 0.01
    more = mutual_information(x, y, targets=star, draws=4, null=0)
    assert more.used == 300
    assert abs(more.nats - by_star.nats) < 0.1


def test_repeated_draws_narrow_the_noise_of_visits():
    rng = np.random.default_rng(13)
    star = np.repeat(np.arange(400), 6)
    y = rng.normal(size=400)[star]
    x = y + rng.normal(size=star.size)
    spread = [
        np.std([mutual_information(x, y, targets=star, draws=d, seed=s, null=0).nats for s in range(12)])
        for d in (1, 6)
    ]
    assert spread[1] < 0.7 * spread[0]


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
def test_conditional_on_one_column(rho):
    rng = np.random.default_rng(14)
    z = rng.normal(size=4_000)
    x, y = gaussian(rho, 4_000, 15)
    found = conditional_mutual_information(x + 2 * z, y - z, z)
    assert found.nats == pytest.approx(nats(rho), abs=0.04)
    assert mutual_information(x + 2 * z, y - z, null=0).nats > 0.2 or rho > 0


def test_conditional_on_many_columns_tells_the_shadow_from_the_thing():
    """y depends on the first of five columns alone; x is a noisy look at that column."""
    rng = np.random.default_rng(16)
    z = rng.normal(size=(3_000, 5))
    y = z[:, 0] + z[:, 1] ** 2 + rng.normal(size=3_000)
    x = z[:, 0] + 0.3 * rng.normal(size=3_000)
    assert mutual_information(x, y, null=0).low > 0.1
    assert conditional_mutual_information(x, y, z).nats < 0.03


def copies(case, n, rng):
    """(x, label, copy): the copy tells all of the label that x knows, so the truth is 0."""
    label, noise = rng.normal(size=n), rng.normal(size=n)
    x, coarse = label + 0.3 * noise, np.round(4 * label).astype(int)
    if case == "numeric":
        return x, label, 3 * label - 7
    if case == "monotone":
        return x, label, np.exp(2 * label)
    if case == "rounded":
        return x, label, np.round(label, 3)
    if case == "wiggly":
        return np.sin(9 * label) + 0.1 * noise, label, label**3
    if case == "wiggly and noisy":
        return np.sin(6 * label) + 0.1 * noise, label + 0.02 * rng.normal(size=n), label
    if case == "noisy":
        return x, label + 0.2 * rng.normal(size=n), label
    if case == "text of numbers":
        return coarse / 4 + 0.3 * noise, coarse.astype(float), np.array([f"k{one}" for one in coarse])
    if case == "text of text":
        return x, np.array([f"k{one}" for one in coarse]), np.array([f"q{one}" for one in coarse])
    if case == "number of text":
        return x, np.array([f"k{one}" for one in coarse]), label
    if case == "confused text":
        held = np.where(rng.random(n) < 0.05, rng.permutation(coarse), coarse)
        return held / 4 + 0.3 * noise, np.array([f"k{one}" for one in coarse]), held.astype(str)
    fine = np.array([f"s{one}" for one in (12 * label).astype(int)])
    return x, fine, {"teff": label, "logg": rng.normal(size=n), "kind": np.where(label > 0, "F", "G")}


@pytest.mark.parametrize(
    "case",
    [
        "numeric",
        "monotone",
        "rounded",
        "wiggly",
        "wiggly and noisy",
        "noisy",
        "text of numbers",
        "text of text",
        "number of text",
        "confused text",
        "text of a table",
    ],
)
def test_a_copy_leaves_nothing_to_tell(case):
    """Text, numeric, noisy, monotone, wiggly: 0 within .03 nat, and the intervals hold it."""
    found = [
        conditional_mutual_information(*copies(case, 1_000, np.random.default_rng(seed)), seed=seed)
        for seed in range(8)
    ]
    assert abs(np.mean([one.nats for one in found])) < 0.02
    assert max(abs(one.nats) for one in found) < 0.07
    assert sum(one.low <= 0 <= one.high for one in found) >= 6


@pytest.mark.parametrize(("weight", "noise"), [(1.0, 0.5), (0.2, 0.2)])
def test_what_a_label_adds_to_a_part_of_it_is_found(weight, noise):
    """The label is a + b; a is given, and the code follows both."""
    truth = 0.5 * np.log(1 + weight**2 / noise**2)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(size=(2, 2_000))
        found = conditional_mutual_information(
            a + weight * b + noise * rng.normal(size=a.size), a + weight * b, a, seed=seed
        )
        assert found.nats == pytest.approx(truth, abs=0.07)
        assert found.low > 0.2


def test_a_noisy_copy_leaves_what_its_noise_hides():
    """label ~ N(0, 1); the copy is off by .3, the code by .3: Gaussian, so the truth is known."""
    truth = 0.5 * np.log(1 + 1 / (1 + 1 / 0.09) / 0.09)
    for seed in range(4):
        label, one, other = np.random.default_rng(seed).normal(size=(3, 2_000))
        found = conditional_mutual_information(label + 0.3 * one, label, label + 0.3 * other, seed=seed)
        assert found.nats == pytest.approx(truth, abs=0.06)


def test_classes_beyond_a_number():
    rng = np.random.default_rng(23)
    kind, given = rng.integers(0, 3, 2_000), rng.normal(size=2_000)
    x = given + 1.5 * kind + rng.normal(size=2_000)
    found = conditional_mutual_information(x, np.array(["F", "G", "K"])[kind], given)
    assert found.nats == pytest.approx(0.447, abs=0.05)  # of three classes 1.5 sigma apart
    assert found.low < 0.447 < found.high
    same = conditional_mutual_information(np.array(["F", "G", "K"])[kind], x, given)
    assert same.nats == found.nats


def test_the_parts_against_brute_force():
    rng = np.random.default_rng(17)
    points, radius = rng.normal(size=(300, 2)), rng.uniform(0, 0.5, 300)
    near = np.abs(points[:, None] - points).max(axis=2)
    assert np.array_equal(neighbours.boxed(points, radius), (near <= radius[:, None]).sum(axis=1))
    assert np.allclose(neighbours.kth_distances(points, 5)[:, 0], np.sort(near, axis=1)[:, 5])
    line = np.sort(points[:, 0])
    away = np.sort(np.abs(line[:, None] - line), axis=1)
    assert np.allclose(neighbours.line_distance(line, 5), away[:, 5])


def test_what_people_hold_goes_in():
    """Lists, pandas, pyarrow and astropy columns, masked or not, give the same; blanks are counted."""
    import pandas as pd
    import pyarrow as pa
    from astropy.table import MaskedColumn, Table

    x, y = gaussian(0.8, 300, 20)
    blank = np.arange(300) % 10 == 0
    plain = mutual_information(x, np.where(blank, np.nan, y), null=500)
    assert (plain.n, plain.missing) == (270, 30)
    assert "270 rows; 30 rows with a blank left out" in plain.text()
    for one in (
        pd.Series(y).mask(blank).astype("Float64"),
        pa.chunked_array([pa.array(y, mask=blank)]),
        MaskedColumn(y, mask=blank),
        [None if lost else float(value) for value, lost in zip(y, blank, strict=True)],
    ):
        assert mutual_information(list(x), one, null=500) == plain
    table = Table({"z": y + 1, "kind": np.where(x > 0, b"a", b"b")})
    kinds = pd.Series(np.where(x > 0, "a", "b")).astype("category")
    assert mutual_information(x, table["kind"], null=500) == mutual_information(x, kinds, null=500)
    given = conditional_mutual_information(x, y, table).nats
    assert given == conditional_mutual_information(x, y, table.to_pandas()).nats
    assert given == conditional_mutual_information(x, y, pa.table({"z": y + 1, "kind": kinds})).nats


def test_classes_on_either_side_and_on_both():
    rng = np.random.default_rng(21)
    kind = rng.choice(["F", "G", "K"], 2_000)
    x = (kind == "K") + rng.normal(size=2_000)
    there, back = (mutual_information(*pair, null=2_000) for pair in ((x, kind), (kind, x)))
    assert (there.nats, there.low, there.high, there.p) == (back.nats, back.low, back.high, back.p)
    flipped = np.where(rng.random(2_000) < 0.1, rng.choice(["F", "G", "K"], 2_000), kind)
    both = mutual_information(kind, flipped, null=2_000)
    kept = 0.9 + 0.1 / 3
    truth = np.log(3) + kept * np.log(kept) + (1 - kept) * np.log((1 - kept) / 2)
    assert both.low < truth < both.high
    assert both.high - both.low < 0.1
    assert both.nats == pytest.approx(truth, abs=0.05)
    assert mutual_information(kind, rng.permutation(kind), null=2_000).nats == pytest.approx(0, abs=0.004)


def test_classes_that_drive_both_are_taken_away():
    rng = np.random.default_rng(22)
    kind = rng.integers(0, 20, 1_500)
    x, y = 0.3 * kind + rng.normal(size=1_500), -0.2 * kind + rng.normal(size=1_500)
    assert mutual_information(x, y, null=0).low > 0.15
    given = conditional_mutual_information(x, y, kind.astype(str))
    assert given.low < 0.02
    assert given.nats == pytest.approx(0, abs=0.04)
    with pytest.raises(EvidenceError, match="both categorical"):
        conditional_mutual_information(kind.astype(str), kind.astype(str), x)


# -- nulls


@pytest.mark.parametrize("case", ["continuous", "ties", "categories", "visits"])
def test_false_positives_at_five_per_cent(case):
    """300 independent pairs: 5 per cent within its binomial error."""
    trials, hits = 300, 0
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        n = 200
        x, y, groups = rng.normal(size=n), rng.normal(size=n), None
        if case == "ties":
            y = rng.integers(0, 4, n)
        elif case == "categories":
            y = np.repeat(["a", "b", "c"], [120, 60, 20])
        elif case == "visits":
            groups = np.repeat(np.arange(n), np.minimum(rng.zipf(1.7, n), 50))
            x, y = x[groups] + 0.1 * rng.normal(size=groups.size), y[groups]
        hits += mutual_information(x, y, targets=groups, seed=seed, null=2_000, rows=30).p <= 0.05
    assert abs(hits - 0.05 * trials) <= 3 * np.sqrt(0.05 * 0.95 * trials)


def test_the_pooled_null_is_that_of_permutations():
    rng = np.random.default_rng(18)
    x, y = np.repeat([0, 1, 2], [50, 30, 20]), np.repeat([0, 1, 2, 3], 25)
    permuted = [screened_information(x, rng.permutation(y))[1] for _ in range(2_000)]
    pooled = nulls.chance_information((50, 30, 20), (25, 25, 25, 25), 2_000, 0)
    assert np.mean(pooled) == pytest.approx(np.mean(permuted), rel=0.05)
    assert np.quantile(pooled, 0.95) == pytest.approx(np.quantile(permuted, 0.95), rel=0.08)


def test_p_is_fine_enough_and_never_zero():
    x, y = gaussian(0.9, 200, 19)
    assert mutual_information(x, y, null=20_000).p == pytest.approx(1 / 20_001)
    assert nulls.chance_p(np.arange(200) % 10, np.zeros(200, dtype=int), draws=2_000) == 1.0


def test_ties_are_broken_by_the_seed_and_evenly():
    values = np.array([1.0, 0.0, 1.0, 1.0])
    drawn = np.array([ranks(values, np.random.default_rng(seed)) for seed in range(600)])
    assert (drawn[:, 1] == 0).all()
    for column in (0, 2, 3):
        assert np.mean(drawn[:, column]) == pytest.approx(2, abs=0.12)


def test_one_row_a_target():
    groups = np.array(["a", "b", "a", "c", "a"])
    rows = [one_per_target(np.arange(5), groups, np.random.default_rng(seed)) for seed in range(50)]
    assert all(sorted(groups[one]) == ["a", "b", "c"] for one in rows)
    assert {int(row) for one in rows for row in one} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mutual_information(np.zeros(30), np.zeros(29)), "x 30, y 29"),
        (lambda: mutual_information(np.zeros((30, 2)), np.zeros(30)), "one column"),
        (lambda: mutual_information(np.zeros(10), np.zeros(10)), "needs 25 or more"),
        (lambda: mutual_information(np.arange(30), ["a"] * 30), "y has one value only in the 30 rows"),
        (lambda: mutual_information(np.ones(30), np.arange(30)), r"x has one value only \(1\)"),
        (lambda: mutual_information(np.arange(30), [f"HD {i}" for i in range(30)]), "differs in each of 30"),
        (lambda: mutual_information(np.arange(30), np.full(30, np.nan)), "30 rows have a blank"),
        (lambda: mutual_information(np.arange(30), np.arange(30), targets=[None] * 30), "no target"),
        (lambda: mutual_information(np.arange(30), np.arange(30).astype("M8[D]")), "of a date, days"),
        (lambda: conditional_mutual_information(np.zeros(30), np.zeros(30), np.zeros((30, 0))), "a column"),
        (lambda: code_information(np.zeros((30, 2)), np.zeros((30, 2)), seed=0), "no positive sd"),
        (lambda: code_information(np.zeros((30, 2)), np.ones((30, 3)), seed=0), "must both be"),
        (lambda: code_information(np.zeros((5, 2)), np.ones((5, 2)), seed=0), "too few"),
        (lambda: spacing_entropy(np.zeros(30)), "are equal"),
    ],
)
def test_refusals(call, words):
    with pytest.raises(EvidenceError, match=words):
        call()


@pytest.mark.parametrize("kind", [bool, np.int64, np.float64])
def test_a_flag_is_a_class(kind):
    """Among ties nearest neighbours would see .65 of .69 nat."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=2000)
    found = mutual_information(x, (x > 0).astype(kind), null=0)
    assert found.nats == pytest.approx(np.log(2), abs=0.01)
    assert mutual_information((x > 0).astype(kind), x, null=0).nats == pytest.approx(np.log(2), abs=0.01)
    with pytest.raises(EvidenceError, match="transposed"):
        conditional_mutual_information(x, x**2, [x, x])


def test_measures_need_no_network():
    """Importing all of them loads neither torch nor anything of model/ or network/."""
    modules = ", ".join(
        f"astroprism.measures.{one.stem}" for one in Path(measures.__file__).parent.glob("*.py")
    )
    modules = modules.replace(".__init__", "")
    code = f"import sys, {modules}; print(*[m for m in sys.modules if m.startswith(FORBIDDEN)])".replace(
        "FORBIDDEN", "('torch', 'astroprism.model', 'astroprism.network', 'astroprism.findings')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
