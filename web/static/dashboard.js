// The live part of the overview, ages that go on, and spectra that are loaded into their page.
'use strict';

const SILENCE = 40000; // ms without any event, after which the connection is made anew
const RETRY = 5000; // ms before it is made anew where the browser itself gave up
const AGES = 5000; // ms between two corrections of the ages

const serverAhead = Number(document.body.dataset.now) - Date.now() / 1000; // s, of the server's clock before ours

const AHEAD = 60; // s that a clock may be ahead of the server's without a word, as in edw/operating/display.py

// The same steps as render.duration.
function duration(seconds) {
  for (const [size, unit] of [[86400, 'd'], [3600, 'h'], [60, 'min']]) {
    if (seconds >= 2 * size) {
      return `${Math.floor(seconds / size)} ${unit}`;
    }
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

function showAges() {
  const now = Date.now() / 1000 + serverAhead;
  for (const time of document.querySelectorAll('time[data-since]')) {
    const passed = now - Number(time.dataset.since);
    time.textContent = passed < -AHEAD ? 'in the future' : duration(passed) + time.dataset.ending;
  }
}

// Replaces what has changed, part by part, so that focus, selection and the scroll position of the others stay.
const shown = new Map();

function replaceParts(html) {
  const incoming = new DOMParser().parseFromString(html, 'text/html');
  for (const part of incoming.querySelectorAll('[data-live]')) {
    const name = part.dataset.live;
    const target = document.querySelector(`[data-live="${name}"]`);
    if (target === null || shown.get(name) === part.outerHTML || isSelected(target)) {
      continue;
    }
    shown.set(name, part.outerHTML);
    const focused = target.contains(document.activeElement) ? document.activeElement : null;
    const address = focused && focused.getAttribute('href');
    const label = focused && focused.getAttribute('aria-label');
    const scrolled = [...target.querySelectorAll('.scroll')].map((one) => one.scrollLeft);
    target.className = part.className;
    target.replaceChildren(...part.childNodes);
    target.querySelectorAll('.scroll').forEach((one, index) => one.scrollTo(scrolled[index] ?? 0, 0));
    if (focused !== null) {
      const same = [...target.querySelectorAll('a[href], [tabindex]')].find(
        (one) => (address ? one.getAttribute('href') === address : one.getAttribute('aria-label') === label));
      if (same) {
        same.focus({preventScroll: true});
      }
    }
  }
}

function isSelected(element) {
  const selection = document.getSelection();
  return selection !== null && !selection.isCollapsed && selection.containsNode(element, true);
}

function follow(live) {
  let source = null;
  let watchdog = 0;
  let lost = null;

  function heard() {
    lost = null;
    clearTimeout(watchdog);
    watchdog = setTimeout(connect, SILENCE);
  }

  function sayNotLive() {
    if (lost === null) {
      lost = new Date();
    }
    const state = document.querySelector('[data-live="state"]');
    const text = `since ${lost.toLocaleTimeString('en-GB')}: the dashboard itself does not answer`;
    const strong = document.createElement('strong');
    strong.textContent = 'Not live';
    if (state !== null && state.textContent !== `Not live ${text}`) {
      shown.delete('state');
      state.className = 'state away';
      state.replaceChildren(strong, ` ${text}`);
    }
  }

  function connect() {
    disconnect();
    source = new EventSource(live.dataset.events);
    source.addEventListener('status', (event) => {
      heard();
      replaceParts(event.data);
    });
    source.addEventListener('alive', heard);
    source.addEventListener('error', () => {
      sayNotLive();
      // The browser tries again by itself, unless the answer was an error.
      if (source.readyState === EventSource.CLOSED) {
        clearTimeout(watchdog);
        watchdog = setTimeout(connect, RETRY);
      }
    });
    clearTimeout(watchdog);
    watchdog = setTimeout(connect, SILENCE);
  }

  function disconnect() {
    clearTimeout(watchdog);
    if (source !== null) {
      source.close();
      source = null;
    }
  }

  // A browser has few connections to one server: pages that nobody sees leave theirs to the others.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) {
      disconnect();
    } else {
      connect();
    }
  });
  if (!document.hidden) {
    connect();
  }
}

async function load(section) {
  section.setAttribute('aria-busy', 'true');
  try {
    const response = await fetch(section.dataset.load);
    const page = new DOMParser().parseFromString(await response.text(), 'text/html');
    const loaded = page.getElementById('loaded');
    if (loaded !== null) {
      section.replaceChildren(section.querySelector('h2'), ...loaded.childNodes);
    }
  } finally {
    section.removeAttribute('aria-busy'); // where it failed, the link to the page of its own stays
  }
}

setInterval(showAges, AGES);
const live = document.getElementById('live');
if (live !== null) {
  follow(live);
}
for (const section of document.querySelectorAll('[data-load]')) {
  load(section);
}
