"""A step for tests that prints, and logs by several loggers."""

from __future__ import annotations

import logging

import listener


def callback(doc: dict) -> dict:
    print(f'printed of {doc["_id"]}\n', end='')  # in one piece: of several threads, the parts of a line mix
    logging.getLogger('mine').warning('something is odd')
    logging.getLogger('mine').info('nobody asks for this')
    logging.getLogger('listener.mine').info('something is told')
    return {}


if __name__ == '__main__':
    raise SystemExit(listener.main(callback, name='talking', after=0, failed='talking failed'))
