function(doc) {
  // When each step was done, by the minute; null where the entry holds no time, as those of the original scripts.
  if (!Array.isArray(doc.process)) {
    return;
  }
  doc.process.forEach(function(entry) {
    if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
      emit([entry.name, typeof entry.finished === 'number' ? 60 * Math.floor(entry.finished / 60) : null], 1);
    }
  });
}
