function(doc) {
  // The documents of lastproc, those of the highest priority first (a number, 0 where there is none), then those that
  // wait longest: since the last thing that was done to them; null where they hold no time, as those of the original
  // scripts. The reduce function gives the earliest of the values, where a number that is after all times stands for
  // null; it sums squares, too, which must stay numbers.
  if (doc.status !== 'good' || (doc.claim !== undefined && doc.claim !== null) || !Array.isArray(doc.process)) {
    return;
  }
  var entry = doc.process.length > 0 ? doc.process[doc.process.length - 1] : {name: 0, finished: doc.datecreated};
  if (entry === null || typeof entry !== 'object' || (typeof entry.name !== 'string' && doc.process.length > 0)) {
    return;
  }
  var since = typeof entry.finished === 'number' ? entry.finished : null;
  // One that failed, or was cut, and was requeued after that.
  [doc.failures, doc.superseded].forEach(function(list) {
    var last = Array.isArray(list) && list.length > 0 ? list[list.length - 1] : null;
    if (last !== null && typeof last === 'object' && typeof last.time === 'number' && last.time > since) {
      since = last.time;
    }
  });
  var priority = typeof doc.priority === 'number' ? -doc.priority : 0;
  emit([entry.name, priority, since], since !== null && since > 0 && since < 1e11 ? since : 1e12);
}
