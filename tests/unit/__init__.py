"""Rules by table; no broker, no network beyond loopback."""
