function(doc) {
  // Good documents that wait for no step, because it cannot be told which step is next. They have to be corrected by hand.
  if (doc.status !== 'good') {
    return;
  }
  if (!Array.isArray(doc.process)) {
    emit(doc.process === undefined ? 'process is missing' : 'process is not a list', 1);
    return;
  }
  var entry = doc.process.length === 0 ? {name: ''} : doc.process[doc.process.length - 1];
  if (entry === null || typeof entry !== 'object' || typeof entry.name !== 'string') {
    emit('the last entry of process has no name', 1);
  }
}
