function(doc) {
  // Each entry, with the step before it and the software that made it, null where it does not say: the order of the
  // chain, how often each step was done, and by what.
  if (!Array.isArray(doc.process)) {
    return;
  }
  // That of runs begins with an entry that comes after no step: after the files.
  var before = doc.type === 'run' ? null : 0;
  doc.process.forEach(function(entry) {
    if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
      var made = entry.software !== null && typeof entry.software === 'object' ? entry.software : {};
      var version = typeof made.step === 'string' ? made.step : null;
      emit([before, entry.name, version, typeof made.commit === 'string' ? made.commit : null], 1);
      before = entry.name;
    }
  });
}
