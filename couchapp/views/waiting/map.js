function(doc) {
  // The documents of lastproc, by the time since which they wait: that of the last thing that was done to them. Null
  // where they hold no time, as those of the original scripts.
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
  emit([entry.name, since], 1);
}
