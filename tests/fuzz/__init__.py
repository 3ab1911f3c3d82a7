"""The long form of the gateway's fuzzing; `./run fuzz-gateway`."""
