"""`signalq publish FILE`: a file's lines to the broker, in runs that can be resumed."""
