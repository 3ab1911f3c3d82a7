"""The consumer as others see it: metrics, health, and the log lines of each intent and of the switch."""
