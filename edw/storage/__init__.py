"""Where files are: local folders, SFTP, and whatever else there is a package for. Each kind is a `kinds.Storage`."""
