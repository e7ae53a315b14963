function(doc) {
  // Exactly what is free to take: good, unclaimed, and its place in the chain can be told.
  if (doc.status !== 'good' || (doc.claim !== undefined && doc.claim !== null) || !Array.isArray(doc.process)) {
    return;
  }
  if (doc.process.length === 0) {
    emit([0, doc._id], 1);
    return;
  }
  var entry = doc.process[doc.process.length - 1];
  if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
    emit([entry.name, doc._id], 1);
  }
}
