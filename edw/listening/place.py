"""The place of a step in the chain: that it is there, and that no other step has it."""

from __future__ import annotations

import logging
from collections.abc import Collection

from edw.database import views
from edw.database.client import Database
from edw.errors import SettingsError
from edw.listening.steps import Step
from edw.model import chain, documents

GROUPS = 1000  # edges of the chain, and steps at work, that are read at most

log = logging.getLogger(__name__)


def check(database: Database, step: Step, instead_of: Collection[str] = ()) -> None:
    """Refuse a place that another step has, unless this one comes instead of it; warn where no document was ever there.

    Two steps with the same `after` would share the documents between them, and each document would get one of the two.
    A step that was done there before this one ever was has the place; so has one that is at work there now. And a step
    that is done again behind itself, as a copied script whose name was forgotten, would have documents go round for
    ever; unless it is named as replaced itself, because it was moved. Raises SettingsError.
    """
    edges = views.edges(database, GROUPS)
    steps = {name for _, name in edges}
    if step.after not in (0, documents.RUN_COMPLETE):
        tell_of_unheard(step.name, str(step.after), steps)
    _check_own_places(step, edges, instead_of)
    others = {name for before, name in edges if before == step.after and type(before) is type(step.after)}
    if step.name in others:
        others = set()  # once it replaced them, or they shared the place by mistake: that is over
    others |= _at_work(database, step)
    if left := sorted(others - {*instead_of}):
        which = f'documents after {step.after}' if step.after else 'new documents'
        raise SettingsError(
            f'{step.name} would take {which}, and so does {", ".join(left)}: each document would get one of them.\n'
            f'Give {step.name} another `after`; or, if it replaces {left[0]}, start it with --instead-of {left[0]}.'
        )


def tell_of_unheard(listener: str, step: str, steps: Collection[str]) -> None:
    """Say of a step that it is none of those that were ever done: a slip, or the first one of its database."""
    if steps and step not in steps:
        log.warning('%s', chain.unheard_of(step, steps))
    elif not steps:
        log.info('%s: waiting for the first document of %s', listener, step)


def _check_own_places(step: Step, edges: chain.Edges, instead_of: Collection[str]) -> None:
    """Refuse a place behind the step itself, and warn of any other where the step was never done, but elsewhere."""
    places = chain.places_of(edges, step.name)
    if (step.after, step.name) in edges or not places or step.name in instead_of:
        return  # it was done there already: if that was a mistake, it is over
    if chain.is_behind(edges, step.after, step.name):
        raise SettingsError(
            f'{step.name} would take documents after {step.after}, which comes behind {step.name} here: they would go '
            f'round.\nGive the step a name of its own; or, if {step.name} was moved there, start it with --instead-of '
            f'{step.name}.'
        )
    before = ', '.join(sorted(str(place) if place else 'nothing' for place in places))
    log.warning(
        '%s was done after %s so far, and is to come after %s now: if it is another step, give it a name of its own',
        step.name,
        before,
        step.after or 'nothing',
    )


def _at_work(database: Database, step: Step) -> set[str]:
    """Other steps that hold documents of this place now."""
    found = set()
    for name in views.counts(database, views.CLAIMS, limit=GROUPS):
        if not isinstance(name, str) or name == step.name:
            continue
        query = {'startkey': [name], 'endkey': [name, views.LAST], 'include_docs': True, 'limit': 1}
        for row in views.rows(database, views.CLAIMS, reduce=False, **query):
            doc = row.get('doc') or {}
            claim, last = doc.get('claim'), documents.last_step(doc)
            # The row can be older than its document: a step that has just been done is no longer at work on it.
            is_at_work = isinstance(claim, dict) and claim.get('process') == name
            if is_at_work and last == step.after and type(last) is type(step.after):
                found.add(name)
    return found
