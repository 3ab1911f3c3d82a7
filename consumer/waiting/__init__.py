"""Waiting: whose turn it is, and when. The door is turn.py; orders that the ladder hands back come by due_queue.py."""
