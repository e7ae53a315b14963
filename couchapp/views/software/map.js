function(doc) {
  // Which software made each entry of a step, and when, by the minute; null where the entry does not say.
  if (!Array.isArray(doc.process)) {
    return;
  }
  doc.process.forEach(function(entry) {
    if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
      var made = entry.software !== null && typeof entry.software === 'object' ? entry.software : {};
      var version = typeof made.step === 'string' ? made.step : null;
      var commit = typeof made.commit === 'string' ? made.commit : null;
      var minute = typeof entry.finished === 'number' ? 60 * Math.floor(entry.finished / 60) : null;
      emit([entry.name, version, commit, minute], 1);
    }
  });
}
