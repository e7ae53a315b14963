"""Settings files as people have them."""

from __future__ import annotations

from pathlib import Path

from edw import config
from edw.database.client import Database
from tests.conftest import Server
from tests.scripts import ANALYSIS, Scripts

ORIGINAL = """[Cloudant]
server = {server}
dbname = {dbname}
username = {username}
password = {password}
viewname = _design/process/_view/lastproc
"""


def test_the_originals_own_file_runs_every_script(scripts: Scripts, server: Server, tmp_path: Path) -> None:
    dbname = config.load(scripts.config).dbname
    login = {'username': server.username, 'password': server.password}
    scripts.config.write_text(ORIGINAL.format(server=server.url, dbname=dbname, **login))
    for script, *arguments in (
        ('upload_design.py',),
        ('make_metadata.py', '--events', '20'),
        ('listen_newfiles.py', '--once'),
        ANALYSIS,
        ('show_status.py',),
        ('reprocess.py', '--failed', '--dry-run'),
    ):
        done = scripts.call(script, *arguments)
        assert done.returncode == 0, (script, done.stderr)
    doc = Database(config.load(scripts.config)).get('ma22a000_000')
    assert doc['original_file'] == str(tmp_path / 'data' / 'raw' / 'ma22a000_000.root')
    assert doc['process'][1]['file'] == str(tmp_path / 'data' / 'sps' / 'ma22a000_000.amp.root')


def test_a_section_of_another_program_is_a_warning(scripts: Scripts, database: Database) -> None:
    with open(scripts.config, 'a') as file:
        file.write('[other program]\nworkers = 7\n')
    done = scripts.call('upload_design.py')
    assert done.returncode == 0 and done.stderr == f'{scripts.config}: nobody reads the section [other program].\n'
