"""`python -m signalq` is the command `signalq`."""

from importlib import import_module

if __name__ == "__main__":
    # By name: the library imports nothing of the commands.
    import_module("signalq.ops.__main__").main()
