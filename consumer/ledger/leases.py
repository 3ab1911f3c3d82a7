"""How long a claim, a lease and a sign of life hold: each follows from the one before."""

# A claim whose transaction began longer ago than this is not POSTed: the process may have been frozen meanwhile (a
# suspended machine, for an hour), its lease run out, and another consumer may have dealt with the intent; and what the
# switch said then may not hold any more.
CLAIM_MS_MAX = 1_000
# A claim is its consumer's business for so long after that one's last sign of life.
LEASE_MS = CLAIM_MS_MAX + 500
# A consumer that was silent for as long as a lease does not count as living: its last claim is too old to be POSTed,
# and its next one reads the switch anew, should it only have stood still.
LIVE_MS = LEASE_MS
# Renewed so often: three signs of life may be late before a lease ends.
ALIVE_PERIOD_S = 0.4
