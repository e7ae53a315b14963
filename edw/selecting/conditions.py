"""Conditions on fields of a document, as people write them: `conditions.temperature < 0.0155`. Pure functions."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edw.errors import SettingsError
from edw.model import documents
from edw.model.documents import Document

_COMPARES: dict[str, Callable[[Any, Any], bool]] = {
    '<': operator.lt,
    '<=': operator.le,
    '>': operator.gt,
    '>=': operator.ge,
    '=': operator.eq,
    '==': operator.eq,
    '!=': operator.ne,
}
# Names of Mango's operators: https://docs.couchdb.org/en/stable/api/database/find.html#condition-operators
_MANGO = {'<': '$lt', '<=': '$lte', '>': '$gt', '>=': '$gte', '=': '$eq', '==': '$eq'}
_CONDITION = re.compile(
    r'\s*(?P<field>[^<>=!\s][^<>=!]*?)\s*(?P<operator><=|>=|==|!=|<|>|=)\s*(?P<value>.*?)\s*', re.DOTALL
)
# https://docs.couchdb.org/en/stable/api/database/find.html#condition-operators
_TYPES = {float: 'number', str: 'string', bool: 'boolean', type(None): 'null'}
_WORDS = {float: 'a number', str: 'a text', bool: 'true or false', type(None): 'null'}
_PLAIN = re.compile(r'[^\W\d]\w*(\.[^\W\d]\w*)*')  # a path that Mango reads as it is read here
_MISSING = object()


@dataclass(frozen=True)
class Condition:
    """A field, with dots between its parts (`conditions.volts.detector_a.0`), compared with a number or a text."""

    field: str
    operator: str
    value: Any

    def holds(self, doc: Document) -> bool:
        """Whether it holds for a document. A field that is missing, or of another kind, is only `!=`."""
        found = field_of(doc, self.field)
        if kind_of(found) != kind_of(self.value):
            return self.operator == '!='
        return _COMPARES[self.operator](found, self.value)

    @property
    def selector(self) -> dict[str, Any] | None:
        """The same for Mango, which may let pass more; None where it might let pass less."""
        # `!=` also holds for what is missing, and CouchDB orders texts as people read them (ICU collation).
        by_order = self.operator not in ('=', '==', '!=')
        if self.operator not in _MANGO or not _PLAIN.fullmatch(self.field) or (by_order and kind_of(self.value) is str):
            return None
        return {self.field: {_MANGO[self.operator]: self.value}}

    @property
    def kind(self) -> str:
        """What a field must be to be compared with the value, in words."""
        return _WORDS[kind_of(self.value)]

    @property
    def selector_of_kind(self) -> dict[str, Any] | None:
        """A Mango selector of documents whose field can be compared with the value; None where Mango cannot say it."""
        return {self.field: {'$type': _TYPES[kind_of(self.value)]}} if _PLAIN.fullmatch(self.field) else None


def parse(text: str) -> Condition:
    """`FIELD OPERATOR VALUE`; the value is JSON, else taken as text. Raises SettingsError."""
    match = _CONDITION.fullmatch(text)
    if match is None or not match['value']:
        raise SettingsError(f"{text!r} is no condition like 'conditions.temperature < 0.0155'")
    try:
        value = json.loads(match['value'])
    except ValueError:
        value = match['value']
    if kind_of(value) is None or (kind_of(value) is float and documents.number(value) is None):
        raise SettingsError(f'{text!r}: a field is compared with a number, a text, true, false or null')
    if match['operator'] not in ('=', '==', '!=') and kind_of(value) not in (float, str):
        raise SettingsError(f'{text!r}: only numbers and texts are less or more')
    return Condition(match['field'], match['operator'], value)


def field_of(doc: Document, path: str) -> Any:
    """The value of a field; a number in the path is a place in a list. What is missing is of no kind."""
    found: Any = doc
    for part in path.split('.'):
        if isinstance(found, dict):
            found = found.get(part, _MISSING)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return _MISSING
    return found


def kind_of(value: Any) -> Any:
    """What a value can be compared with: `float` for all numbers; None for what cannot be compared."""
    if isinstance(value, bool) or value is None:
        return type(value)
    if isinstance(value, (int, float)):
        return float
    return str if isinstance(value, str) else None
