function(doc) {
  // The documents of runs.
  if (doc.type === 'run') {
    emit(doc._id, 1);
  }
}
