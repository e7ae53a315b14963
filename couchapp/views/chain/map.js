function(doc) {
  // Each entry with the step before it: the order of the chain, and how often each step was done.
  if (!Array.isArray(doc.process)) {
    return;
  }
  var before = 0;
  doc.process.forEach(function(entry) {
    if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
      emit([before, entry.name], 1);
      before = entry.name;
    }
  });
}
