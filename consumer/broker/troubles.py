"""How often a trouble that lasts is logged: at once, then after 1 s, 2 s, 4 s and so on, and at last once a minute."""

FIRST_GAP_S = 1.0
GAP_MAX_S = 60.0
# Of so many troubles at a time it is known when they were logged.
TROUBLES_MAX = 64


class Troubles:
    """Remembers when each trouble, told by its sentence, is to be logged again."""

    def __init__(self) -> None:
        # By trouble: not before then, and how long to wait after that.
        self._next: dict[str, tuple[float, float]] = {}

    def is_due(self, trouble: str, now_s: float) -> bool:
        """Whether to log the trouble, which is there now. One that was away for long is a new one."""
        due_s, gap_s = self._next.get(trouble, (now_s, FIRST_GAP_S))
        if now_s < due_s:
            return False
        if now_s - due_s > GAP_MAX_S:
            gap_s = FIRST_GAP_S
        if len(self._next) >= TROUBLES_MAX and trouble not in self._next:
            self._next.clear()
        self._next[trouble] = now_s + gap_s, min(2 * gap_s, GAP_MAX_S)
        return True

    def are_over(self) -> bool:
        """Forget all, so that the next one is new; whether there were any."""
        there_were = bool(self._next)
        self._next.clear()
        return there_were
