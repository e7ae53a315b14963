function(doc) {
  // Documents that a step gave up, by step, kind and time of their last failure; its text is the value. Those of the
  // original scripts tell only their status. Not what is being
  // written, held, or a run that is closed.
  if (typeof doc.status !== 'string' || ['good', 'acquiring', 'held', 'closed'].indexOf(doc.status) >= 0) {
    return;
  }
  var failures = Array.isArray(doc.failures) ? doc.failures : [];
  var last = failures.length > 0 ? failures[failures.length - 1] : null;
  if (last === null || typeof last !== 'object' || typeof last.process !== 'string') {
    emit([null, doc.status, null], doc.status);
    return;
  }
  var error = typeof last.error === 'string' ? last.error : '';
  // That which the step has given it, or else the type of its error.
  var kind = typeof last.kind === 'string' && last.kind !== '' ? last.kind
    : error.indexOf(': ') > 0 ? error.substring(0, error.indexOf(': ')) : error.substring(0, 60);
  emit([last.process, kind, typeof last.time === 'number' ? last.time : null], error);
}
