function(doc) {
  // Of each run: how many documents are how far. The last step is 0 where nothing has been done yet. The value is what a
  // selection by conditions asks for, so that it need not open each document.
  if (typeof doc.run !== 'string') {
    return;
  }
  var process = Array.isArray(doc.process) ? doc.process : [];
  var entry = process.length > 0 ? process[process.length - 1] : null;
  var last = entry !== null && typeof entry === 'object' && typeof entry.name === 'string' ? entry.name : 0;
  emit([doc.run, typeof doc.status === 'string' ? doc.status : null, last],
    doc.conditions !== null && typeof doc.conditions === 'object' ? doc.conditions : null);
}
