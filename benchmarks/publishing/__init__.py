"""What it costs to publish: the SDK and `signalq publish`, each beside the same work done with aiormq and no checks."""
