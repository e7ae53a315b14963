"""CouchDB over HTTP: requests, logins, waiting for an answer, views, the design document."""
