"""The pages, one module each: its routes, what it reads, and what it lets a person do."""
