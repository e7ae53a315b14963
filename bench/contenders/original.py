"""The original's pattern, as the shortest honest script: a view query per change, a PUT per document.

`python -m bench.contenders.original NUMBER`; database URL, user name and password come by the environment.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime

import requests

from bench.work import STEPS, entry

if __name__ == '__main__':
    number = int(sys.argv[1])
    after = STEPS[number - 1] if number else 0
    url = os.environ['BENCH_DATABASE']
    session = requests.Session()
    session.auth = (os.environ['EDW_USERNAME'], os.environ['EDW_PASSWORD'])
    query = {'feed': 'continuous', 'since': 'now', 'heartbeat': 10000, 'filter': 'process/with_process', 'last': after}
    keys = {'startkey': json.dumps([after]), 'endkey': json.dumps([after, {}])}
    changes = requests.get(f'{url}/_changes', params=query, auth=session.auth, stream=True, timeout=60)
    changes.raise_for_status()
    print('listening', flush=True)
    for line in changes.iter_lines(chunk_size=1):
        if not line:
            continue
        params = {**keys, 'reduce': 'false', 'include_docs': 'true'}
        rows = session.get(f'{url}/_design/process/_view/lastproc', params=params, timeout=60).json()['rows']
        for doc in [row['doc'] for row in rows if row['doc']]:
            doc['process'].append(entry(STEPS[number], doc))
            answer = session.put(f'{url}/{doc["_id"]}', json=doc, timeout=60)
            print(datetime.now().isoformat(' '), answer.status_code, doc['_id'], flush=True)
