function(doc) {
  if (doc.status !== undefined) {
    emit(doc.status, 1);
  }
}
