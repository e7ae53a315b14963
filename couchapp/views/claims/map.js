function(doc) {
  if (doc.claim !== undefined && doc.claim !== null) {
    emit([doc.claim.process, doc.claim.worker], typeof doc.claim.since === 'number' ? doc.claim.since : null);
  }
}
