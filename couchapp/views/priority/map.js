function(doc) {
  // The documents of lastproc, those of the highest priority first: a number, 0 where there is none.
  if (doc.status !== 'good' || (doc.claim !== undefined && doc.claim !== null) || !Array.isArray(doc.process)) {
    return;
  }
  var priority = typeof doc.priority === 'number' ? -doc.priority : 0;
  if (doc.process.length === 0) {
    emit([0, priority, doc._id], 1);
    return;
  }
  var entry = doc.process[doc.process.length - 1];
  if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
    emit([entry.name, priority, doc._id], 1);
  }
}
