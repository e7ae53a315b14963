// A CouchDB-style server for trying and testing: PouchDB on LevelDB behind express-pouchdb.
//
//   EDW_LOCAL_USERNAME=… EDW_LOCAL_PASSWORD=… node server.js PORT DIR
//
// The login comes by the environment, because a command line is readable by every user of the machine.
// Port 0 takes a free one. The one line on stdout says that requests are answered, and ends with the URL.
'use strict';

const { AsyncLocalStorage } = require('node:async_hooks');
const events = require('node:events');
const { enableCompileCache } = require('node:module');
const path = require('node:path');
const { setTimeout: pause } = require('node:timers/promises');
const vm = require('node:vm');

// What is loaded from here on was compiled at the last start. Kept where nobody else can write.
enableCompileCache?.(path.join(__dirname, 'node_modules', '.compiled'));

const express = require('express');
const basicAuth = require('express-basic-auth');
const expressPouchDB = require('express-pouchdb');
const { getOrCreateDB } = require('express-pouchdb/lib/create-or-delete-dbs');
const leveldown = require('leveldown');

const [port, dir] = process.argv.slice(2);
const { EDW_LOCAL_USERNAME: username, EDW_LOCAL_PASSWORD: password } = process.env;
if (!port || !dir || !username || !password) {
  console.error('usage: EDW_LOCAL_USERNAME=… EDW_LOCAL_PASSWORD=… node server.js PORT DIR');
  process.exit(2);
}

// Each client that follows a database is up to two listeners on it, one while it is quiet and one more at each change.
// Node's own limit, ten, warns of a leak when six clients follow; a real one passes this, too.
events.defaultMaxListeners = 1000;

const MAX_BODY = '64mb'; // of a request; CouchDB's own limit
const PouchDB = require('pouchdb').defaults({ prefix: path.resolve(dir) + path.sep });

function refuse(res, status, error, reason) {
  if (!res.headersSent) res.status(status).json({ error, reason });
  else res.end(); // half an answer cannot be taken back: end it, the client sees broken JSON
}

// PouchDB throws some errors outside of any promise that express-pouchdb waits for. Such a request would
// never be answered, and the process would end. The storage tells which request an error belongs to.
const requests = new AsyncLocalStorage();
function answerStrayErrors() {
  for (const event of ['uncaughtException', 'unhandledRejection']) {
    process.on(event, (error) => {
      console.error(`${event}: ${error && error.stack ? error.stack : error}`);
      const res = requests.getStore();
      if (res) refuse(res, 500, 'internal_server_error', String((error && error.message) || error));
    });
  }
}

// PouchDB makes a database anew, and empty, for a request that opens it while it is being deleted. So requests that
// have not begun to answer come first, and those that come meanwhile are told what will be true.
const DELETE_PAUSE = 5; // milliseconds between two looks at what is under way
const beingDeleted = new Set();
const underWay = new Map(); // responses of each database
async function deleteAlone(req, res, next) {
  const { db } = req.params;
  if (beingDeleted.has(db)) return refuse(res, 404, 'not_found', 'no_db_file');
  if (!underWay.has(db)) underWay.set(db, new Set());
  const others = underWay.get(db);
  if (req.method === 'DELETE' && req.path === '/') {
    beingDeleted.add(db);
    res.on('close', () => beingDeleted.delete(db));
    while ([...others].some((other) => !other.headersSent)) await pause(DELETE_PAUSE);
  } else {
    others.add(res);
    res.on('close', () => others.delete(res));
  }
  return next();
}

// An unknown filter makes PouchDB throw from a callback, and `_selector` is taken for a missing filter.
async function checkFilter(req, res, next) {
  const name = req.query.filter;
  if (name === undefined || name === '_doc_ids') return next();
  if (name === '_selector' || !/^[^_/][^/]*\/[^/]+$/.test(name)) {
    return refuse(res, 400, 'bad_request', `the embedded server has no filter ${name}`);
  }
  const [design, filter] = name.split('/');
  const known = await PouchDB.allDbs();
  if (!known.includes(req.params.db)) return refuse(res, 404, 'not_found', 'no_db_file');
  try {
    // The one that requests have, too: PouchDB keeps each that is made, one a poll, until the database is deleted.
    const doc = await (await getOrCreateDB(PouchDB, req.params.db)).get(`_design/${design}`);
    if (!doc.filters || typeof doc.filters[filter] !== 'string') {
      return refuse(res, 404, 'not_found', `missing json key: ${filter}`);
    }
  } catch (error) {
    return refuse(res, error.status || 500, 'not_found', error.reason || error.message);
  }
  return next();
}

// PouchDB makes a context for each document that a function of a view gets, which takes most of the time of a view.
// One for all of them is as much as CouchDB has for those of a design document.
const sandbox = vm.createContext();
vm.runInNewContext = (code) => vm.runInContext(code, sandbox);

const app = express();
app.disable('x-powered-by');
app.use((req, res, next) => requests.run(res, next));
// Who works with the wrong one of several servers is to see it. Without the login, too: `ps` shows the same.
app.use((req, res, next) => {
  res.set('Edw-Folder', encodeURI(path.resolve(dir)));
  next();
});
app.use(
  basicAuth({
    users: { [username]: password },
    challenge: true,
    realm: 'edw local couchdb',
    unauthorizedResponse: () => ({ error: 'unauthorized', reason: 'Name or password is incorrect.' }),
  }),
);
app.use(express.json({ limit: MAX_BODY, strict: false }));
app.use('/:db', deleteAlone);
app.all('/:db/_changes', checkFilter);
app.use(
  // The login is checked above, and compression would hold back the heartbeats of `_changes`.
  expressPouchDB(PouchDB, {
    mode: 'minimumForPouchDB',
    overrideMode: {
      include: ['routes/ddoc-info', 'routes/find'],
      exclude: ['compression'],
    },
  }),
);
// eslint-disable-next-line no-unused-vars -- express knows an error handler by its four parameters
app.use((error, req, res, next) => {
  const status = error.status || error.statusCode || 500;
  refuse(res, status, status < 500 ? 'bad_request' : 'internal_server_error', error.message);
});

const KEEP_ALIVE = 300_000; // milliseconds, as in CouchDB

function fail(message) {
  console.error(`error: ${message}`);
  process.exit(1);
}

function listen() {
  const server = app.listen(Number(port), '127.0.0.1', () => {
    answerStrayErrors();
    console.log(`embedded server, data in ${path.resolve(dir)}: http://127.0.0.1:${server.address().port}/`);
  });
  // By itself it would close a connection that was quiet for five seconds, perhaps under the request that just comes.
  server.keepAliveTimeout = KEEP_ALIVE;
  server.on('error', (error) => {
    fail(error.code === 'EADDRINUSE' ? `port ${port} is already in use. Take another --port.` : error.message);
  });
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      server.close(() => lock.close(() => process.exit(0)));
      server.closeAllConnections(); // a longpoll would keep the server open for ever
    });
  }
}

// A database of its own as a lock: LevelDB lets one process open a folder, and a second server must not look as if
// it worked until the first request. Kept in a variable of the module: what is collected as garbage is closed.
const lock = leveldown(path.join(dir, '.running'));
lock.open((error) => {
  if (error) fail(`${path.resolve(dir)} cannot be opened; is another server using it? Take another --dir.`);
  listen();
});
