function(doc) {
  // Each entry with the step before it: the order of the chain, and how often each step was done.
  if (!Array.isArray(doc.process)) {
    return;
  }
  // That of runs begins with an entry that comes after no step: after the files.
  var before = doc.type === 'run' ? null : 0;
  doc.process.forEach(function(entry) {
    if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
      if (before !== null) {
        emit([before, entry.name], 1);
      }
      before = entry.name;
    }
  });
}
