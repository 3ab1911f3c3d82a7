"""Dead letters: which ones a person has chosen, and the jobs that act on them."""
