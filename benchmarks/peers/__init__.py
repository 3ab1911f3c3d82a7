"""The consumers that signalq is measured beside. Each consumes BENCH_QUEUE and POSTs each body to BENCH_WEBHOOK."""
