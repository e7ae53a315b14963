function(doc, req) {
  // The embedded server parses query values as JSON, so that last=0 is a number there: compare as strings.
  var last = String(req.query.last);
  if (doc.status !== 'good' || (doc.claim !== undefined && doc.claim !== null) || !Array.isArray(doc.process)) {
    return false;
  }
  if (doc.process.length === 0) {
    return last === '0';
  }
  var entry = doc.process[doc.process.length - 1];
  return entry !== null && typeof entry === 'object' && typeof entry.name === 'string' && entry.name === last;
}
