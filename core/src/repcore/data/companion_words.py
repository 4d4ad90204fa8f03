"""Words of columns that say how values beside them are meant, in the languages that people write headers in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Literal

from repcore.data.groups import plain_name
from repcore.data.measured import KNOWN_UNITS

Role = Literal["relation", "unit", "quantity"]
ROLE_WORDS: dict[str, Role] = {
    **dict.fromkeys(("relation", "qualifier", "operator", "modifier", "prefix", "censoring", "inequality", "op", "sign",
                     "comparator", "relationszeichen", "operador", "operateur", "operatore", "relazione",
                     "relacion"), "relation"),
    **dict.fromkeys(("unit", "units", "uom", "einheit", "einheiten", "masseinheit", "unite", "unites", "unidad",
                     "unidades", "unita", "unidade", "eenheid", "enhet", "enhed"), "unit"),
    **dict.fromkeys(("type", "quantity", "endpoint"), "quantity"),
}  # fmt: skip
UNIT_PHRASES = frozenset({
    "unit_of_measure", "units_of_measure", "unit_of_measurement", "unidad_de_medida", "unite_de_mesure",
    "unita_di_misura", "unidade_de_medida",
})  # fmt: skip
QUANTITY_PHRASES = frozenset({
    "endpoint", "endpoints", "property", "property_name", "assay", "assay_name", "quantity", "parameter", "analyte",
    "parameter_name", "variable", "variable_name", "measure", "measurement_type", "measurement_name", "activity_type",
    "result_type", "value_type", "observable", "characteristic", "metric", "test_name", "endpunkt", "eigenschaft",
    "messgrosse", "messgroesse", "kenngrosse", "propriete", "propiedad", "proprieta", "propriedade", "grandeur",
    "magnitud", "parametre", "parametro", "eigenschap",
})  # fmt: skip
"""Names that say what a value is wherever a column beside them is just called value."""
VALUE_WORDS = frozenset({
    "value", "values", "val", "result", "results", "measurement", "reading", "number", "wert", "messwert", "ergebnis",
    "resultat", "valeur", "valor", "valore", "waarde", "outcome",
})  # fmt: skip
EXACT = frozenset({"=", "==", "eq", "equal", "equals", "exact"})
SIGNS = frozenset({">", "<", ">=", "<=", ">>", "<<", "=>", "=<", "\u2265", "\u2264", "\u226b", "\u226a", "="})
BOUNDS = (SIGNS - {"="}) | {"~", "\u2248", "gt", "lt", "ge", "le", "gte", "lte", "approx"}
_PREFIX = "[yzafpnu\u00b5mcdhkMGTP]|da"
_UNIT = re.compile(
    rf"({_PREFIX})?([gmslLMVWJK]|mol|Da|Pa|Hz|eV|cal|Bq|Sv|Gy|Ci|IU|bar|lx|Ohm|ohm|\u03a9|bit|byte|molar)|"
    rf"({_PREFIX})[AFNTUB]|[CFdh]|[\u00b0%]|\u00b0[CFK]"
)
_SPELT = KNOWN_UNITS - {"us", "d", "w", "y"} | {
    "mol", "mmol", "umol", "nmol", "molar", "kda", "dba", "dbc", "dbfs", "dbm", "ev", "mev", "ha", "hartree",
    "hartrees", "kcal", "kj", "cal", "torr", "mmhg", "cmh2o", "atm", "psi", "bar", "mbar", "ppm", "ppb", "ppt",
    "cfu", "pfu", "cells", "copies", "counts", "cps", "cpm", "rpm", "bpm", "percent", "pct", "prozent", "deg",
    "degc", "degf", "celsius", "fahrenheit", "kelvin", "rad", "gram", "grams", "kilogram", "litre", "liter",
    "metre", "meter", "meters", "metres", "inch", "inches", "ft", "feet", "lb", "lbs", "oz", "yd", "mile", "miles",
    "gbp", "px", "pixel", "pixels", "voxels", "log", "log10", "ln", "unitless", "dimensionless", "iu", "beats",
    "fps", "second", "seconds", "minute", "minutes", "hour", "wh", "kwh", "mwh", "angstrom", "bohr", "debye",
    "sones", "phon", "dl", "ul", "pg", "fg", "kn", "kt", "knots", "mph", "kmh", "deg_c", "deg_f",
}  # fmt: skip


def plain_word(name: str) -> str:
    """:func:`repcore.data.groups.plain_name` without accents."""
    apart = unicodedata.normalize("NFKD", name.replace("\u00df", "ss"))
    return plain_name("".join(one for one in apart if not unicodedata.combining(one)))


def calls_units(name: str) -> bool:
    """Whether a column of this name holds units."""
    plain = plain_word(name)
    return plain in UNIT_PHRASES or ROLE_WORDS.get(plain.rpartition("_")[2]) == "unit"


def are_units(words: Iterable[str]) -> bool:
    """Whether words are units of measurement, not wards or shops that are called units."""
    found = set(words)
    return bool(found) and all(map(_is_unit, found))


def _is_unit(word: str) -> bool:
    plain = word.replace("\u00b5", "u").replace("\u03bc", "u")
    tokens = [one for one in re.split(r"[\s/*.^()\u00b7\u22c5\u2212\u207b\u00b9\u00b2\u00b3\d-]+", plain) if one]
    return plain.lower() in _SPELT or (
        bool(tokens) and all(_UNIT.fullmatch(one) or one.lower() in _SPELT or one == "per" for one in tokens)
    )
