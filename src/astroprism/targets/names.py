"""Names of stars: many spellings of one designation become one.

Only spelling is undone here (`HD 189733`, `hd-189733`, `HD_189733`). That two designations mean one
star (HD 189733 and V452 Vul) is knowledge, which a table of aliases or the position brings; see `targets`.
"""

from __future__ import annotations

import re
import unicodedata

# The 88 constellations: IAU abbreviation and Latin genitive (IAU, 1922/1930).
_CONSTELLATIONS = """
AND ANDROMEDAE ANT ANTLIAE APS APODIS AQR AQUARII AQL AQUILAE ARA ARAE ARI ARIETIS AUR AURIGAE BOO BOOTIS
CAE CAELI CAM CAMELOPARDALIS CNC CANCRI CVN CANUMVENATICORUM CMA CANISMAJORIS CMI CANISMINORIS
CAP CAPRICORNI CAR CARINAE CAS CASSIOPEIAE CEN CENTAURI CEP CEPHEI CET CETI CHA CHAMAELEONTIS CIR CIRCINI
COL COLUMBAE COM COMAEBERENICES CRA CORONAEAUSTRALIS CRB CORONAEBOREALIS CRV CORVI CRT CRATERIS CRU CRUCIS
CYG CYGNI DEL DELPHINI DOR DORADUS DRA DRACONIS EQU EQUULEI ERI ERIDANI FOR FORNACIS GEM GEMINORUM GRU GRUIS
HER HERCULIS HOR HOROLOGII HYA HYDRAE HYI HYDRI IND INDI LAC LACERTAE LEO LEONIS LMI LEONISMINORIS
LEP LEPORIS LIB LIBRAE LUP LUPI LYN LYNCIS LYR LYRAE MEN MENSAE MIC MICROSCOPII MON MONOCEROTIS MUS MUSCAE
NOR NORMAE OCT OCTANTIS OPH OPHIUCHI ORI ORIONIS PAV PAVONIS PEG PEGASI PER PERSEI PHE PHOENICIS PIC PICTORIS
PSC PISCIUM PSA PISCISAUSTRINI PUP PUPPIS PYX PYXIDIS RET RETICULI SGE SAGITTAE SGR SAGITTARII SCO SCORPII
SCL SCULPTORIS SCT SCUTI SER SERPENTIS SEX SEXTANTIS TAU TAURI TEL TELESCOPII TRI TRIANGULI
TRA TRIANGULIAUSTRALIS TUC TUCANAE UMA URSAEMAJORIS UMI URSAEMINORIS VEL VELORUM VIR VIRGINIS VOL VOLANTIS
VUL VULPECULAE
"""
_GENITIVES = _CONSTELLATIONS.split()
_SHORT = dict(zip(_GENITIVES[1::2], _GENITIVES[0::2], strict=True)) | {s: s for s in _GENITIVES[0::2]}

# Greek letters: SIMBAD's abbreviation, then the other spellings met in headers.
_GREEK_TABLE = """
ALF ALPHA ALP α|BET BETA β|GAM GAMMA γ|DEL DELTA δ|EPS EPSILON ε ϵ|ZET ZETA ζ|ETA η|TET THETA THE θ ϑ|
IOT IOTA ι|KAP KAPPA κ|LAM LAMBDA LAMBA λ|MU MIU μ|NU ν|KSI XI ξ|OMI OMICRON ο|PI π|RHO ρ|SIG SIGMA σ ς|
TAU τ|UPS UPSILON υ|PHI φ ϕ|CHI χ|PSI ψ|OME OMEGA OMG ω
"""
_GREEK = {form: group.split()[0] for group in _GREEK_TABLE.split("|") for form in group.split()}
_GREEK_SIGNS = {ord(form): group for form, group in _GREEK.items() if len(form) == 1 and not form.isascii()}

# What stands in a header's OBJECT where no star is named: exposure types and placeholders. A name made
# of these words alone is none.
_PLACEHOLDERS = """
UNKNOWN UNDEFINED UNNAMED UNIDENTIFIED NOTSET NO NAME NONAME NONE NULL NAN NA INF OBJECT OBJ OBJECTS STAR
STARS TARGET TARGETS SCIENCE SCI SOURCE FIELD TEST TESTS OTHER DEFAULT DUMMY BLANK EMPTY ANONYMOUS ANON
TBD SKY SKYFLAT BACKGROUND CALIB CALIBRATION CAL STD STANDARD FLUX TELLURIC RV WAVE WAVELENGTH THAR ARC
THARTHAR LAMP FLAT BIAS DARK DOME DOMEFLAT TWILIGHT ORDERDEF CONTAM EFF FP LFC FABRY PEROT TUN SPECTRUM
EXPOSURE ACQUISITION SLIT FIBRE FIBER TH AR NE HE UN SIMULTANEOUS
OBSERVED OBSERVATION OBJECTNAME UNSPECIFIED UNKOWN UNKNWON UNASSIGNED NOTAVAILABLE NOT SET SPECIFIED AVAILABLE
MYSTAR MY NEW PROGRAM PROGRAMME LIGHT FOCUS ENGINEERING FOO BAR XXX XX
"""
_NO_STAR = frozenset(_PLACEHOLDERS.split())
# A bare number of up to three digits counts exposures or fields; catalogues have longer ones.
_COUNTER = re.compile(r"#?[-+]?\d{1,3}(?:\.\d*)?|[-+]?0+(?:\.0*)?|[-+]?9{2,}(?:\.\d*)?")
# Words that name no star with a number behind them either.
_NUMBERED = re.compile(r"(?:SKY|DUMMY|BLANK|EMPTY|UNKNOWN|UNNAMED|UNDEFINED|NONAME)[ _#-]*\d*")
_NO_STAR_EXACTLY = frozenset({"", "N/A", "0", "-1", "-9", "-99", "-999", "-9999", "-99999", "99999"})

_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-")
_LETTERS = "(?P<component>[A-E]{0,2})"
_PLANET = re.compile(r"(?P<star>.*[A-Z].*(?:\d| ))(?P<planet>[b-h])")
_PREFIX = re.compile(r"(?:NAME |V\* ?|\*\*? ?|EM\* )")
_QUICK = re.compile(r"([A-Z]+)[ _-]?0*([0-9]+)")
_COMMON = re.compile(r"([A-Z]+)[ -]*0*(\d+) ?([A-E]{0,2})")
_COORDINATES = re.compile(r"[A-Z0-9]*[A-Z] ?\d{4}[\d.]*[+-]\d{4}[\d.]*")
_OWN_RULES = frozenset({"HDE", "BD", "COD", "CD", "CPD", "CP", "GLIESE", "GJ", "GL", "NAME"})
_GLIESE = re.compile(r"(?:GLIESE|GJ|GL)[ -]*0*(\d+(?:\.\d)?) ?" + _LETTERS)
_DURCHMUSTERUNG = re.compile(
    r"(?P<survey>BD|COD|CD|CPD|CP) ?(?P<sign>[+-]?) ?(?:(?P<zone>\d{1,2})(?:[°D]| ?- ?| )|(?P<glued>\d\d))"
    r" ?0*(?P<number>\d{1,5}) ?" + _LETTERS
)
_TYCHO = re.compile(r"TYC[ -]*0*(\d+)[ -]+0*(\d+)[ -]+(\d)")
_TWO_MASS = re.compile(r"2M(?:ASS)?(?:[WIS]|SI)?[ -]*J?(\d{7,8}[+-]\d{6,7})")
_GAIA = re.compile(r"GAIA[ -]*E?(DR\d)[ -]*(\d+)")
_GREEK_WORDS = "|".join(sorted((form for form in _GREEK if form.isascii()), key=len, reverse=True))
_CONSTELLATION = "|".join(sorted(_SHORT, key=len, reverse=True))
_BAYER = re.compile(
    rf"(?P<greek>{_GREEK_WORDS})0*(?P<index>\d*)(?P<constellation>{_CONSTELLATION})" + _LETTERS
)
_IN_CONSTELLATION = re.compile(
    rf"(?P<letters>V0*(?P<number>\d+)|0*\d+|[A-Z]{{1,2}}|[A-Z]+?)(?P<constellation>{_CONSTELLATION})"
    + _LETTERS
)
_TAILS = frozenset(form[-3:] for form in _SHORT)


def normalise_name(name: object) -> str:
    """One spelling for all spellings of a designation; '' where no star is named.

    Case, spaces, underscores, dashes, leading zeros of catalogue numbers, SIMBAD's prefixes, Greek
    letters and constellation genitives are undone. Component letters stay (A and B are two stars), and so
    does the sign and the zone of a Durchmusterung number. A single small letter b..h after a name with
    capitals is a planet by the usual convention, but some write a component so: it stays a name of its own.
    """
    quick = _QUICK.fullmatch(name) if isinstance(name, str) else None  # nearly all names of an archive
    if quick and quick[1] not in _OWN_RULES and not _NUMBERED.fullmatch(quick[0]):
        return quick[1] + quick[2]
    text = name_text(name)
    if not text.isascii():
        text = _fold(text)
    if text[-1:] in "bcdefgh" and (planet := _PLANET.fullmatch(text)):
        star = normalise_name(planet["star"])
        return f"{star} {planet['planet']}" if star else ""
    variable = text[:2].upper() == "V*"
    text = text.upper()
    if _NUMBERED.fullmatch(text) or _COUNTER.fullmatch(text):
        return ""
    common = _COMMON.fullmatch(text)
    if common and common[1] == "HDE":  # the extension continues HD's numbers
        return "HD" + common[2] + common[3]
    if common and common[1] not in _OWN_RULES:
        return common[1] + common[2] + common[3]
    if _COORDINATES.fullmatch(text.replace(" J", "J", 1)) and not text.startswith("2M"):
        return text.replace(" ", "")
    if text in _NO_STAR_EXACTLY or all(word in _NO_STAR for word in re.findall(r"[^\W_]+", text)):
        return ""
    stripped = _PREFIX.sub("", text, count=1) if _PREFIX.match(text) else text
    name = _catalogued(stripped) or _in_constellation(stripped, variable) or _plain(stripped)
    return name if name == text else normalise_name(name)  # the rest may be a placeholder: `A:R`, `0:`


def name_text(name: object) -> str:
    """The name as text for reading: single spaces, ASCII dashes; '' for a missing one."""
    if name is None or (isinstance(name, float) and name != name):
        return ""
    text = name.decode("latin-1") if isinstance(name, bytes) else str(name)
    if not text.isascii():
        text = text.translate(_DASHES)
    return " ".join(text.replace("_", " ").replace("\0", " ").split())


def _fold(text: str) -> str:
    """Without accents, Greek letters by name, other forms of one sign as one."""
    text = unicodedata.normalize("NFKD", text).translate(_DASHES)
    letters = [f"{_GREEK_SIGNS[ord(sign)].lower()} " if ord(sign) in _GREEK_SIGNS else sign for sign in text]
    return " ".join("".join(sign for sign in letters if not unicodedata.combining(sign[0])).split())


def _catalogued(text: str) -> str:
    """Catalogues whose numbers need more than the removal of blanks."""
    if match := _GLIESE.fullmatch(text):
        return f"GJ{match[1]}{match['component']}"
    if match := _DURCHMUSTERUNG.fullmatch(text):
        # Zones have two digits by the catalogues' convention, so that glued digits can be separated.
        survey = {"COD": "CD", "CP": "CPD"}.get(match["survey"], match["survey"])
        zone = int(match["zone"] or match["glued"])
        return f"{survey}{match['sign']}{zone:02d} {match['number']}{match['component']}"
    if match := _TYCHO.fullmatch(text):
        return f"TYC{match[1]}-{match[2]}-{match[3]}"
    if match := _TWO_MASS.fullmatch(text):
        return f"2MASSJ{match[1]}"
    if match := _GAIA.fullmatch(text):
        return f"GAIA{match[1]} {match[2]}"
    return ""


def _in_constellation(text: str, variable: bool) -> str:
    """Bayer, Flamsteed and variable-star names: `alf Cen A`, `Alpha Centauri A`, `61 Cyg`, `V0645 Cen`."""
    compact = re.sub(r"[ .'-]", "", text)
    if (
        not {compact[-3:], compact[-4:-1], compact[-5:-2]} & _TAILS
    ):  # most names: spare them the long patterns
        return ""
    # `V* MU Cas` and `V* NU Ori` are variables of two Latin letters, not mu Cas and nu Ori.
    latin = variable and re.match(r"[MN]U[ A-Z]", text) is not None
    if not latin and (match := _BAYER.fullmatch(compact)):
        index = match["index"]
        return _GREEK[match["greek"]] + index + _SHORT[match["constellation"]] + match["component"]
    if match := _IN_CONSTELLATION.fullmatch(compact):
        letters = f"V{match['number']}" if match["number"] else match["letters"].lstrip("0")
        prefix = "V*" if latin else ""
        return prefix + letters + _SHORT[match["constellation"]] + match["component"]
    return ""


def _plain(text: str) -> str:
    """Everything else: blanks and dashes go, except where they part two numbers."""
    text = re.sub(r"[^A-Z0-9+\-. ]", " ", text).strip(" .-") if text.isascii() else text
    # In coordinates (J1234-5678) the dash is a sign; in `L 98-59` or `NGC 2682 1194` it parts two numbers.
    text = re.sub(r"(?<=\d)(?<!\d{4})[ -]+(?=\d)|(?<=\d)[ -]+(?=\d{1,3}(?!\d))", "-", text)
    text = re.sub(r"(?<!\d)-|-(?!\d)", "", text)
    text = re.sub(r"(?<!\d) | (?!\d)", "", text)
    return re.sub(r"^([A-Z]+)0+(?=\d+[A-Z]*$)", r"\1", text)


_COMPONENT = re.compile(
    r"(?P<base>.*\d|.*(?:" + "|".join(sorted(set(_SHORT.values()))) + r"))(?P<component>[A-E]{1,2})"
)


def component(name: str) -> tuple[str, str]:
    """A normalised name as (system, component letters): `HD189733A` is ('HD189733', 'A').

    `AB` is an unresolved pair; the `Ba` of `eps Ind Ba` is a part of B, hence 'B'.
    """
    match = _COMPONENT.fullmatch(name)
    if not match:
        return name, ""
    letters = match["component"]
    return match["base"], letters[0] if letters[1:] and letters[1] <= letters[0] else letters


def catalogue(name: str) -> str:
    """The catalogue of a normalised name: 'HD', 'GJ', '2MASS' ...; '' where its names carry no number."""
    if name.startswith("2MASS"):
        return "2MASS"
    if match := re.match(r"GAIADR\d|BD|CD|CPD", name):
        return match[0]
    if _BAYER.fullmatch(name):
        return "Bayer"
    if match := _IN_CONSTELLATION.fullmatch(name):
        if match["letters"].isdigit():
            return "Flamsteed"
        return "variable" if match["number"] or len(match["letters"]) < 3 else ""
    # a name made of coordinates is no number: one star has as many as there are digits to cut
    match = re.match(r"[A-Z]+(?=\d)", name)
    return match[0] if match and not _COORDINATES.fullmatch(name) else ""
