function(doc) {
  // In which hours files of each run came, 0 where they do not say, so that the last runs are found without reading all
  // of them. The reduce function gives the time of the newest; it sums squares, too, which must stay numbers.
  if (typeof doc.run !== 'string') {
    return;
  }
  var time = doc.datecreated;
  var made = typeof time === 'number' && time > 0 && time < 1e11 ? time : 0;
  emit([Math.floor(made / 3600), doc.run], made);
}
