"""The files that documents name: whether they are whole, which may be deleted, and how soon disks are full."""
