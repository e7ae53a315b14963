"""The pages with a calibration spectrum: of a run, or of one file."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from edw.database import views
from edw.database.client import Database
from edw.model.documents import Document
from web import pages, render
from web.spectra import Drawn, amplitudes_of
from web.threads import in_thread

MOST_DOCUMENTS = 500  # of a run, that are looked at for files


@in_thread
def spectrum(request: Request) -> Response:
    """The spectrum with its lines; what cannot be read is said in the picture's place."""
    drawn = _drawn(request)
    return render.page(
        'spectrum.html',
        **pages.frame(request, 'Calibration spectrum'),
        drawn=drawn,
        run=request.query_params.get('run'),
        doc_id=request.query_params.get('id'),
        picture=f'/spectrum.svg?{request.url.query}',
    )


@in_thread
def svg(request: Request) -> Response:
    """The picture alone."""
    drawn = _drawn(request)
    if not drawn.picture:
        raise HTTPException(404, 'No file of amplitudes can be read')
    return Response(drawn.picture, media_type='image/svg+xml')


def _drawn(request: Request) -> Drawn:
    with request.app.state.databases.lent() as database:
        if 'id' in request.query_params:
            docs = [pages.document_of(database, request.query_params['id'])]
        elif 'run' in request.query_params:
            docs = _docs_of_run(database, request.query_params['run'])
        else:
            raise HTTPException(404, 'The address of this page has neither id nor run')
    files = [file for file in map(amplitudes_of, docs) if file is not None]
    return request.app.state.spectra.of(files)


def _docs_of_run(database: Database, run: str) -> list[Document]:
    ends = {'startkey': [run], 'endkey': [run, views.LAST]}
    rows = views.rows(database, views.RUNS, reduce=False, include_docs=True, limit=MOST_DOCUMENTS, **ends)
    docs = {row['id']: row['doc'] for row in rows if row.get('doc')}
    return [docs[doc_id] for doc_id in sorted(docs)]
