function(doc) {
  // Which steps were done on each file of a run, whether the file has failed since, and when: milliseconds, of which a
  // sum of many is still exact. Once for each step, its last time.
  if (typeof doc.run !== 'string' || !Array.isArray(doc.process)) {
    return;
  }
  var failed = typeof doc.status === 'string' && ['good', 'acquiring', 'held', 'closed'].indexOf(doc.status) < 0;
  var last = {};
  doc.process.forEach(function(entry) {
    if (entry !== null && typeof entry === 'object' && typeof entry.name === 'string') {
      last['.' + entry.name] = typeof entry.finished === 'number' ? Math.round(entry.finished * 1000) % 1000000000 : 0;
    }
  });
  Object.keys(last).forEach(function(name) {
    emit([doc.run, name.substring(1), failed], last[name]);
  });
}
