"""The image, really built and really run, without a daemon and without a registry of images: ./run test-image."""
