function(doc) {
  // When each step was done, by the minute. Entries of the original scripts hold no time.
  if (!Array.isArray(doc.process)) {
    return;
  }
  doc.process.forEach(function(entry) {
    if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string'
        && typeof entry.finished === 'number') {
      emit([entry.name, 60 * Math.floor(entry.finished / 60)], 1);
    }
  });
}
