"""What model.json, findings.json and tables of codes say, as objects: the one place that knows the keys.

Everything frozen; `from_json` checks names and kinds and says where a file is wrong, `to_json` gives back the
same object. Fields with a default are left out of the file where they have it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from .artifacts import Format, jsonable, read_json
from .errors import ModelError

MODEL = Format("astroprism-model", 1)
CODES = Format("astroprism-codes", 1)
FINDINGS = Format("astroprism-findings", 1)


def number(value: float) -> float | None:
    """A float of Python's; None where it is not finite, as JSON has no word for that."""
    value = float(value)
    return value if math.isfinite(value) else None


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """A JSON object with known keys."""

    @classmethod
    def from_json(
        cls, content: Mapping[str, Any], *, path: Path | str = "the content", remedy: str = ""
    ) -> Self:
        """The object; a missing or wrong key is an error that names `path` and the remedy."""
        try:
            return msgspec.convert(jsonable(content), cls)
        except msgspec.ValidationError as error:
            raise ModelError(f"{path} cannot be used: {error}" + (f"; {remedy}" if remedy else "")) from None

    def to_json(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        content: dict[str, Any] = msgspec.to_builtins(self)
        return content


# --- model.json


class NetworkFacts(Record, frozen=True):
    """What rebuilds an untrained network: its kind, 'prism' or 'paper', and its configuration."""

    kind: str
    config: dict[str, Any]

    @property
    def nodes(self) -> int:
        """Nodes of the bottleneck."""
        return int(self.config["n_latent"])

    @property
    def agnostic(self) -> bool:
        """Whether it is a prism whose decoder has no star, atmosphere and velocity."""
        return bool(self.config.get("agnostic", False))

    @property
    def physical(self) -> bool:
        """Whether its decoder has a star, an atmosphere and a velocity."""
        return self.kind == "prism" and not self.agnostic

    @property
    def moves(self) -> int:
        """How many of its nodes, the first ones, are velocities: the star's, and a free atmosphere's."""
        return (1 + bool(self.config.get("free_air", False))) if self.physical else 0

    @property
    def moving_air(self) -> bool:
        """Whether it reads the barycentric correction of each spectrum."""
        return bool(self.config.get("moving_air", False))


class StoreFacts(Record, frozen=True):
    """The store that a model was trained on."""

    fingerprint: str
    spectra: int
    grid: str
    normalise: str | None


class Split(Record, frozen=True):
    """How units were shared out, and how many spectra fell to each part.

    unit        what is on one side whole: 'target', or of few targets 'night' or 'block' of time
    block_days  length of a block
    folds       of the cross-fitting that findings are planned to rest on; 0: on what was held out
    reason      why it is not held-out targets
    """

    seed: int
    valid: float
    test: float
    train_spectra: int
    valid_spectra: int
    test_spectra: int
    unit: str = "target"
    block_days: float = 0.0
    folds: int = 0
    reason: str = ""

    @property
    def held_out_spectra(self) -> int:
        """Spectra of targets that no weight was fitted to."""
        return self.valid_spectra + self.test_spectra


class TrainedOn(Record, frozen=True):
    """What the weights were fitted to."""

    spectra: int
    targets: int


class Chi2(Record, frozen=True):
    """Median chi2 per pixel at the mean code, None where there were no spectra.

    train, valid                with the errors as learned
    stated_train, stated_valid  with the errors that came with the spectra
    """

    train: float | None
    valid: float | None
    stated_train: float | None = None
    stated_valid: float | None = None


class Event(Record, frozen=True):
    """What was done to a network in training, or noticed, at a step."""

    step: int
    event: str


class Axis(Record, frozen=True):
    """Whether the codes single out a node's axis.

    own          whether they do
    stability    rank correlation of what two halves of the targets find
    shared_with  other nodes whose axes are not singled out: of these and this one the space is known
    """

    own: bool
    stability: float
    shared_with: list[int] = []


class AxesFacts(Record, frozen=True, kw_only=True):
    """On which axes codes are read: those of the training, or those that the codes single out.

    nodes      that could be turned: those kept that move nothing
    stability  of each node's axis: rank correlation of what two halves of the targets find
    own        whether the codes single that axis out; of the others only the space that they share
    gains      nats of dependence between nodes that turning takes away on targets not used for it, per half
    targets    that they were sought with
    why        why none were sought, '' where they were
    """

    nodes: list[int]
    turned: bool
    stability: list[float] = []
    own: list[bool] = []
    gains: list[float] = []
    targets: int = 0
    why: str = ""

    def of_node(self, node: int) -> Axis | None:
        """A node's axis; None where it was not sought."""
        if self.why or node not in self.nodes:
            return None
        place = self.nodes.index(node)
        if self.own[place]:
            return Axis(True, self.stability[place])
        others = [one for one, own in zip(self.nodes, self.own, strict=True) if not own and one != node]
        return Axis(False, self.stability[place], others)

    @property
    def text(self) -> str:
        """What was done, in words."""
        if self.why:
            return f"axes are those of the training: {self.why}"
        count = len(self.nodes)
        sure = f"{sum(self.own)} of {count} axes are found alike by both of two halves"
        if not self.turned:
            return (
                f"{count} nodes keep the axes of the training: on targets not used for them, no others are "
                f"less dependent ({self.targets:,} targets); {sure}"
            )
        return (
            f"{count} nodes were turned to axes on which they depend {sum(self.gains) / len(self.gains):.2g} "
            f"nats less on each other ({self.targets:,} targets, on those not used to find them); {sure}"
        )


class ModelFacts(Record, frozen=True, kw_only=True):
    """model.json: what a trained network is, and what it was made from."""

    format: str = ""
    format_version: int = 0
    network: NetworkFacts
    steps: int
    seed: int
    recipe: dict[str, Any]
    asked: dict[str, Any]
    store: StoreFacts
    split: Split
    trained_on: TrainedOn
    precision: str
    chi2: Chi2
    kept: list[int]
    response: str = ""  # why spectra are divided by a smooth response, or are not
    axes: AxesFacts | None = None  # of a prism
    events: list[Event]
    warnings: list[str]
    versions: dict[str, str] | None = None

    @staticmethod
    def path_in(folder: Path) -> Path:
        """Where it lies in a model's folder."""
        return folder / "model.json"

    @classmethod
    def in_folder(cls, folder: Path) -> Self | None:
        """Of the finished model in a folder; None where there is none."""
        path = cls.path_in(folder)
        return cls.read(path) if path.exists() else None

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the file; another format or version is an error."""
        remedy = "restore it, or train again with --again"
        content = read_json(path, remedy=remedy)
        MODEL.require(content, path, remedy=remedy)
        return cls.from_json(content, path=path, remedy=remedy)

    @property
    def floor(self) -> float:
        """Error floor in relative flux that the last steps of the training had."""
        points = self.recipe.get("floor", [[0.0, 0.01]])  # the paper's recipe once left its own unsaid
        return float(points[-1][1])


# --- tables of codes


class CodesFacts(Record, frozen=True):
    """What a table of codes is and what it was made from.

    network   'prism', 'paper' or 'released'
    weights   digest of the weights
    polished, relocked   how the means were improved under the decoder
    """

    spectra: int
    nodes: int
    network: str
    kept: list[int]
    weights: str
    polished: bool
    relocked: bool = False
    steps: int | None = None


# --- findings.json


class CountSummary(Record, frozen=True):
    """One method's count of distinct causes: k, its range, and a node per cause, the strongest first."""

    k: int
    low: int
    high: int
    nodes: list[int]
    bound_nats: float


class DispersionCount(Record, frozen=True):
    """The same by the seed paper's dispersion of the mean codes, whose threshold is not in nats."""

    threshold: float
    k: int
    low: int
    high: int
    nodes: list[int]


class Counts(Record, frozen=True):
    """The two counts, the seed paper's beside them, and whether the two agree."""

    statistical: CountSummary | None
    information: CountSummary | None
    mad: DispersionCount
    agree: bool | None
    spectra: int


class Match(Record, frozen=True):
    """A node and a label or header keyword: mutual information, and what remains of it given others."""

    label: str
    mi_nats: float | None
    mi_low: float | None
    mi_high: float | None
    p: float | None
    q: float | None
    share_of_entropy: float | None
    conditional_mi_nats: float | None
    conditional_low: float | None
    conditional_high: float | None
    given: list[str]
    shadow_of: list[str]
    explains: bool
    n: int
    categorical: bool | None = None


class ResponseShape(Record, frozen=True):
    """A shape of the smooth response that spectra were divided by: its share, and what explains it."""

    share: float | None  # of the response's variance
    labels: list[Match]
    keywords: list[Match]


class Line(Record, frozen=True):
    """One spectral line and how far the node moves it."""

    wavelength: float
    line: str
    value: float


class LineGroup(Record, frozen=True):
    """Lines of one species or bands of a molecule, and how much more a node moves them than what is beside.

    kind           'lines' or 'bands'
    inseparable    lines of it that are not used, as others share their resolution element
    confused_with  groups that explain as much of what is moved
    """

    name: str
    element: str
    frame: str
    enrichment: float | None
    p: float | None
    q: float | None
    p_alone: float | None
    named: bool
    top: list[Line]
    lines_in_window: int
    kind: str = "lines"
    inseparable: int = 0
    confused_with: list[str] = []

    @property
    def words(self) -> str:
        """Its name, with those that it cannot be told from: 'TiO or VO'."""
        return " or ".join([self.name, *self.confused_with])


class Feature(Record, frozen=True):
    """A place where a node's derivative stands out, with its full width, and what the tables have there.

    kind    'line' (not resolved), 'broad line', 'band' or 'smooth'
    value   how far it stands out, in the derivative's unit
    name    of a line, blend or band, where chance does not give one as well; chance: how often it would
    of      the group of lines that it belongs to, if that stands out altogether
    """

    wavelength: float
    width_kms: float
    kind: str
    value: float
    name: str | None = None
    chance: float | None = None
    of: str | None = None


class LineShares(Record, frozen=True):
    """Where a node's derivative lies: shares of its square, and of the pixels, which is what chance gives.

    lines    where one or two species of the star dominate a resolution element
    bands    in molecular bands of stars; air: in those of the atmosphere; they may overlap
    nowhere  in none of these
    smooth   share of all its square that a smooth factor on the flux makes; the others are of what is left
    """

    lines: float
    lines_pixels: float
    bands: float
    bands_pixels: float
    air: float
    air_pixels: float
    nowhere: float
    nowhere_pixels: float
    smooth: float | None = None


class LineCoverage(Record, frozen=True):
    """How far lines can be named: resolution, and the reach of the tables.

    element_kms       full width at half maximum of a narrow line; known_from: what says so
    low, high         angstrom in vacuum that the tables cover; outside: share of the pixels beyond
    complete_from_ma  equivalent width in the Sun from which the star's lines are about complete
    lines             of the star in the window that the resolution separates; inseparable: the others
    never             species none of whose lines it separates
    """

    element_kms: float
    known_from: str
    low: float
    high: float
    outside: float
    complete_from_ma: float | None
    lines: int
    inseparable: int
    never: list[str] = []


class Share(Record, frozen=True):
    """A share of variance predicted on targets set aside, with its 90 % interval."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Extreme(Record, frozen=True):
    """A spectrum at one end of a node's codes."""

    spectrum_id: str
    target: str
    code: float


class Trend(Record, frozen=True):
    """How a node's codes drift with time."""

    spearman: float | None
    p: float | None
    spreads_a_year: float | None
    low: float | None
    high: float | None
    years: float
    n: int


class Companion(Record, frozen=True):
    """A node whose codes move along with another's at constant labels."""

    node: int
    slope: float


class Dossier(Record, frozen=True):
    """What is known of an informative node that no label explains."""

    lowest: list[Extreme]
    highest: list[Extreme]
    trend: Trend | None
    keywords: list[Match]
    moves_with: list[Companion]
    lines: list[LineGroup]
    lines_tested: int


class EvidenceFacts(Record, frozen=True):
    """What findings rest on.

    unit   what counts once: 'target', or of few targets 'night' or 'block' of time
    units  how many of them; targets: of how many stars
    folds  of the cross-fitting; 0: the units were held out of the one training
    """

    unit: str
    units: int
    targets: int
    folds: int = 0

    @property
    def text(self) -> str:
        """In words: 'evidence from 150 targets, 5-fold cross-fitted'."""
        many = f"{self.units:,} {self.unit}{'s' * (self.units != 1)}"
        if self.unit != "target":
            many += f" of {self.targets:,} target{'s' * (self.targets != 1)}"
        if self.folds:
            return f"evidence from {many}, {self.folds}-fold cross-fitted"
        return f"evidence from {many} held out of training"


class Nats(Record, frozen=True):
    """Shared information with its 90 % interval, on n targets."""

    nats: float | None
    low: float | None
    high: float | None
    n: int


class Origin(Record, frozen=True, kw_only=True):
    """What a node follows of the header keywords, and whether that makes it the instrument's or the sky's.

    verdict   'instrumental', 'sky', 'motion' (of the Earth), or 'follows', where the keyword says nothing of
              what is behind it, or the star is
    keyword   the one that shares most, '' where the decoder alone tells
    kind      what the keyword is by its name, and `what` in words (measures/keywords.py)
    share     of the node's variance that the keyword alone predicts, on targets set aside
    beyond_labels, label_beyond_keyword   what each adds to the other, where labels explain the node, too
    star_too  whether the strongest label keeps 0.1 nat beyond the keyword
    others    more keywords that explain the node, the strongest first
    """

    verdict: str
    keyword: str
    kind: str
    what: str
    categorical: bool
    mi_nats: float | None
    mi_low: float | None
    mi_high: float | None
    q: float | None
    n: int
    share: Share | None = None
    labels: list[str] = []
    beyond_labels: Nats | None = None
    label_beyond_keyword: Nats | None = None
    star_too: bool = False
    others: list[str] = []

    @property
    def explains(self) -> bool:
        """Whether the node is no question any more: instrument, sky or the Earth's motion."""
        return self.verdict != "follows"


class VariancePart(Record, frozen=True):
    """One component of a code's variance, and its share of the whole, each with its 90 % interval.

    share_null  what 95 % of the shuffles stay below; p: how often they reach as much
    """

    variance: float | None
    low: float | None
    high: float | None
    share: float | None
    share_low: float | None
    share_high: float | None
    share_null: float | None
    p: float


class VarianceSplit(Record, frozen=True, kw_only=True):
    """A code's variance between stars, between nights of a star, within nights, and between instruments.

    night       None where the visits cannot tell it; `night_in` is the part that then holds it
    instrument  None where there is one instrument, or none is named; `by` is the keyword that names it
    code_noise  mean variance of the code's own error, taken off the others
    evidence    'held-out targets' or 'all targets'
    put_back    codes beyond six robust spreads, which count as lying there
    """

    star: VariancePart | None
    night: VariancePart | None
    within: VariancePart | None
    instrument: VariancePart | None
    code_noise: float | None
    code_noise_share: float | None
    total: float
    targets: int
    repeated: int
    spectra: int
    put_back: int = 0
    night_in: str = ""
    by: str = ""
    evidence: str = ""


class Node(Record, frozen=True, kw_only=True):
    """One node of the bottleneck, and all that was found of it.

    response      change -> numbers of the encoder's answer (see findings/response.py)
    intervention  how well moving the node equals the change that it is nearest to
    survival      of retrainings, with what comes with it; None where there were none
    features      where its derivative stands out; line_shares: how much of it lies at lines of the tables
    returned      share of the node's variance that networks find which were not trained on the spectra (R2
                  out of fold), with its interval and what shuffles reach; None without folds
    claimed       informative, no copy, and back in the retrainings and the folds, if there were any


    origin        the header keyword that it follows, and what that makes it; None where none explains it
    keywords      those that explain it, the strongest first
    variance      between stars, nights, instruments; None without repeat visits
    axis          whether the codes single out its axis; None where axes were not sought
    claimed       informative, no copy, and back in the retrainings, if there were any
    """

    node: int
    information_nats: float | None
    ablation_nats: float | None
    mad: float | None
    dispersion_ratio: float | None
    informative: bool
    informative_by: list[str]
    doubtful: bool
    copies_of: int | None
    response: dict[str, dict[str, Any]]
    intervention: dict[str, Any] | None
    matches: list[Match]
    predicted_by_labels: Share | None
    unexplained: bool
    lines: list[LineGroup]
    survival: float | None
    dossier: Dossier | None
    survival_interval: list[float] | None = None
    told_by_all_of_a_retraining: float | None = None
    features: list[Feature] = []
    line_shares: LineShares | None = None
    returns: bool | None = None
    returned: float | None = None
    returned_interval: list[float | None] | None = None
    returned_null: float | None = None
    identified: bool | None = None
    claimed: bool
    origin: Origin | None = None
    keywords: list[Match] = []
    variance: VarianceSplit | None = None
    axis: Axis | None = None

    @property
    def counted(self) -> bool:
        """Informative or doubtful: above the bound by at least one method."""
        return self.informative or self.doubtful

    @property
    def moves(self) -> list[str]:
        """What it moves, in words: groups of lines or bands, then single features of other kinds."""
        names = [one.name for one in self.features if one.name is not None and one.of is None]
        return [group.words for group in self.lines] + list(dict.fromkeys(names))

    @property
    def explained_by(self) -> list[Match]:
        """Matches that explain the node and are no shadow of a stronger label, the strongest first."""
        return [match for match in self.matches if match.explains and not match.shadow_of]


class Period(Record, frozen=True, kw_only=True):
    """The strongest period of a series, with the sinusoid that fits it best and the standard errors of both.

    value(t) = level + amplitude cos(2 pi (t - epoch) / period); epoch: a maximum near the middle, days
    power        of the periodogram, 0..1; false_alarm: chance of as much, over all series of the star
    significant  whether that is at most the level that findings ask
    chi2         per degree of freedom about the sinusoid; errors are scaled by it where it is above 1
    near         a period of the Earth or the Moon that the data cannot tell it from, '' for none
    aliases      other periods that fit as well within 3 sigma
    """

    period: float
    period_sd: float
    amplitude: float
    amplitude_sd: float
    epoch: float
    epoch_sd: float
    level: float
    power: float
    false_alarm: float
    significant: bool
    chi2: float
    near: str = ""
    aliases: list[float] = []


class Varying(Record, frozen=True, kw_only=True):
    """One quantity of one star in time: its velocity (km/s) or a node's code.

    spread, error   standard deviation, and median standard error
    levels          false-alarm level -> power of the periodogram
    between_nights, within_nights   variance beyond the error; None where nights have one spectrum each
    berv            Spearman's correlation with BERV and its p, over all series of the star
    """

    node: int
    quantity: str
    spread: float
    error: float
    period: Period | None
    levels: dict[str, float]
    between_nights: VariancePart | None
    within_nights: VariancePart | None
    varies_within_night: bool
    berv_correlation: float | None = None
    berv_p: float | None = None


class Series(Record, frozen=True, kw_only=True):
    """One star in time. frame: 'barycentric' or 'apparent', what its velocities are; remarks: sentences."""

    target: str
    spectra: int
    nights: int
    first: float
    last: float
    frame: str
    shortest: float
    longest: float
    series: list[Varying]
    remarks: list[str] = []


class Told(Record, frozen=True):
    """What a set of nodes tells of a label, at least: nats with their 90 % interval, p of independence."""

    nodes: list[int]
    nats: float
    low: float
    high: float
    p: float


class LabelSummary(Record, frozen=True):
    """How well one label is read from the codes of all informative nodes together.

    together, pair  what all of them tell, and the two that tell most
    """

    n: int
    best_node: int | None
    shadow_of: list[str]
    r2_linear: float | None
    r2_knn: float | None
    r2_linear_interval: list[float | None] | None = None
    r2_knn_interval: list[float | None] | None = None
    named_rightly: Share | None = None
    guessed_rightly: float | None = None
    together: Told | None = None
    pair: Told | None = None


class FieldScores(Record, frozen=True, kw_only=True):
    """How far nodes are single causes, by the measures of the field, with labels as the causes.

    factors  the numeric labels that explain a node; nodes: those that count; n: targets
    scores   name of a measure -> its value and 90 % interval
    """

    factors: list[str]
    nodes: list[int]
    n: int
    scores: dict[str, list[float]]


class Findings(Record, frozen=True, kw_only=True):
    """findings.json: how many causes there are, what each one is, and which ones nothing explains.

    label_notes  label or column of a table -> how it was read: classes pooled, spectral types as numbers


    axes      on which axes codes are read, in words
    field     scores of the field, where two or more numeric labels explain nodes
    total_correlation  nats by which the nodes that count depend on each other, with its 90 % interval
    response  shapes of the smooth response that spectra were divided by, and what they follow
    repeats  a sentence on repeat visits: what the variance was split on, or why it was not
    series   stars with enough dated spectra to be looked at in time
    """

    count: Counts
    nodes: list[Node]
    labels: dict[str, LabelSummary]
    labels_left_out: dict[str, str]
    label_notes: dict[str, str] = {}
    keywords_left_out: int
    targets: int
    null_draws: dict[str, int]
    stability: dict[str, Any] | None
    warnings: list[str]
    line_coverage: LineCoverage | None = None
    format: str = ""
    format_version: int = 0
    provenance: dict[str, Any] = {}
    evidence: EvidenceFacts | None = None

    axes: str = ""
    field: FieldScores | None = None
    total_correlation: list[float] = []
    response: list[ResponseShape] = []
    repeats: str = ""
    series: list[Series] = []

    @staticmethod
    def path_in(folder: Path) -> Path:
        """Where they lie in a study's folder."""
        return folder / "findings.json"

    @classmethod
    def read(cls, path: Path) -> Self:
        """From the file; another format or version is an error."""
        remedy = "restore it, or run find again"
        content = read_json(path, remedy=remedy)
        FINDINGS.require(content, path, remedy=remedy)
        return cls.from_json(content, path=path, remedy=remedy)

    @property
    def rests_on(self) -> EvidenceFacts:
        """What they rest on; of older files, held-out targets."""
        return self.evidence or EvidenceFacts("target", self.targets, self.targets)

    @property
    def informative(self) -> list[Node]:
        """Nodes above the bound of both methods that are no copies."""
        return [node for node in self.nodes if node.informative and node.copies_of is None]

    @property
    def unexplained(self) -> list[Node]:
        """Informative nodes that the labels together do not explain."""
        return [node for node in self.nodes if node.unexplained]
