function(doc) {
  // The documents of lastproc, by the time since which they wait.
  if (doc.status !== 'good' || (doc.claim !== undefined && doc.claim !== null) || !Array.isArray(doc.process)) {
    return;
  }
  if (doc.process.length === 0) {
    emit([0, typeof doc.datecreated === 'number' ? doc.datecreated : null], 1);
    return;
  }
  var entry = doc.process[doc.process.length - 1];
  if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
    emit([entry.name, typeof entry.finished === 'number' ? entry.finished : null], 1);
  }
}
