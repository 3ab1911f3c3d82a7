"""What it takes to run signalq somewhere: a private broker, containers, dashboards."""
