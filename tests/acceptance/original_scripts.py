"""What the three scripts of 2013 do, for a test: the same requests in the same order, in Python 3.

    original_scripts.py --config FILE make N              their make_metadata.py
    original_scripts.py --config FILE move_to_sps         their listen_newfiles.py
    original_scripts.py --config FILE signal_processing   their listen_analysis1.py

Nothing of this project is used. What theirs only simulated is done where the other side has to read it: files are
there, copied, and have their md5. Requests have a time limit, which theirs had not, so that no test hangs.
"""

from __future__ import annotations

import configparser
import hashlib
import json
import random
import re
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import requests

HOSTNAME = 'sps.in2p3.fr'  # as it stands in what they record
LIMIT = 60.0  # seconds
HEADERS = {'content-type': 'application/json'}
# Of each step: what the feed is asked for, what the view is, and the status of what fails.
STEPS = {
    'move_to_sps': ('0', 'startkey=[0,""]&endkey=[1,""]', 'failed move to sps'),
    'signal_processing': (
        'move_to_sps',
        'startkey=["move_to_sps",""]&endkey=["move_to_sps\ufff0",""]',
        'signal processing failure',
    ),
}


class Config:
    """Their settings: the section that this project's edw.ini still has, and two folders."""

    def __init__(self, file: str) -> None:
        parser = configparser.RawConfigParser()
        parser.read(file)
        self.url = f'{parser.get("Cloudant", "server")}/{parser.get("Cloudant", "dbname")}'
        self.auth = (parser.get('Cloudant', 'username'), parser.get('Cloudant', 'password'))
        self.viewname = parser.get('Cloudant', 'viewname')
        self.raw, self.sps = (Path(file).parent / parser.get('data', name) for name in ('raw', 'sps'))

    def get(self, path: str) -> Any:
        """The answer to a GET."""
        answer = requests.get(f'{self.url}{path}', auth=self.auth, headers=HEADERS, timeout=LIMIT)
        answer.raise_for_status()
        return answer.json()


def next_run(config: Config) -> str:
    """The run after that of the highest id; they fail where that is of another form."""
    rows = config.get('/_all_docs?limit=1&descending=true&endkey="a"')['rows']
    if not rows:
        return 'ma22a000'
    match = re.search('[0-9]{3,}_[0-9]{3,}', rows[0]['id'])
    assert match, f'{rows[0]["id"]} does not match as expected'
    return f'ma22a{int(match.group(0).split("_")[0]) + 1:03d}'


def make(config: Config, number: int) -> None:
    """New documents, all in one request; each of a copy of some file that is there."""
    run = next_run(config)
    some = min(config.raw.glob('*.root'))
    docs = []
    for counter in range(number):
        name = f'{run}_{counter:03d}'
        file = config.raw / f'{name}.root'
        shutil.copyfile(some, file)
        docs.append(
            {
                '_id': name,
                'run': run,
                'conditions': {
                    'temperature': 0.015 + 0.001 * random.random(),
                    'volts': {'detector_a': [8.0, -8.0, 2.0, -2.0], 'detector_b': [4.0, -4.0, 1.5, -1.5]},
                },
                'original_file': str(file),
                'md5sum': hashlib.md5(file.read_bytes()).hexdigest(),
                'datecreated': time.time(),
                'status': 'good',
                'process': [],
            }
        )
    url = f'{config.url}/_bulk_docs'
    answer = requests.post(url, data=json.dumps({'docs': docs}), auth=config.auth, headers=HEADERS, timeout=LIMIT)
    print(run, 'return code:', answer.status_code, 'sequence:', config.get('')['update_seq'])


def listen(config: Config, step: str) -> None:
    """At each line of the feed, do the step on all that the view has."""
    last, keys, failed = STEPS[step]
    since = config.get('')['update_seq']
    print('listening for new files starting from sequence:', since, flush=True)
    changes = requests.get(
        f'{config.url}/_changes?filter=process/with_process&last={last}',
        params={'feed': 'continuous', 'heartbeat': 30000, 'since': since},
        stream=True,
        auth=config.auth,
        headers=HEADERS,
        timeout=LIMIT,
    )
    for line in changes.iter_lines(chunk_size=1):
        if not line:
            continue  # a heartbeat
        for row in config.get(f'/{config.viewname}?{keys}&reduce=false&include_docs=true')['rows']:
            doc = row['doc']
            try:
                doc['process'].append(done(config, step, doc))
            except Exception:
                doc['status'] = failed
            url = f'{config.url}/{row["id"]}'
            answer = requests.put(url, data=json.dumps(doc), auth=config.auth, headers=HEADERS, timeout=LIMIT)
            print('updated' if answer.ok else f'bad status {answer.status_code}', row['id'], flush=True)


def done(config: Config, step: str, doc: dict[str, Any]) -> dict[str, Any]:
    """Their entry for a document."""
    if step == 'move_to_sps':
        file = config.sps / Path(doc['original_file']).name
        shutil.copyfile(doc['original_file'], file)
        return {
            'name': step,
            'hostname': HOSTNAME,
            'file': str(file),
            'md5sum': doc['md5sum'],
            'log': 'results of sftp job',
        }
    return {
        'name': step,
        'hostname': HOSTNAME,
        'file': doc['process'][0]['file'].removesuffix('.root') + '.amp.root',
        'md5sum': f'{random.getrandbits(128):032x}',
        'log': 'results of calculation',
    }


if __name__ == '__main__':
    _, _, file, what, *rest = sys.argv
    if what == 'make':
        make(Config(file), int(rest[0]))
    else:
        listen(Config(file), what)
