"""The consumer as others see it: metrics, health, and what is logged of each intent and of the switch."""
