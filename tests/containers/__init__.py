"""compose.yaml and the chart, really run, by podman and without a registry of images: ./run test-containers."""
