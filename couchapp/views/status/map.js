function(doc) {
  if (doc.status !== undefined && doc.type !== 'run') {
    emit(doc.status, 1);
  }
}
