"""What the scripts are built on: settings, database access, feed, claims, results, transfer."""
