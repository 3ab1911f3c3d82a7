"""One file a version; each is applied once, in order."""
