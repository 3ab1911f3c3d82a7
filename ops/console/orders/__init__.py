"""Orders: the search for them, their facts, and the timeline of one."""
