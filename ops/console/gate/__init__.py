"""The way to a page: where a request comes from, who sent it, what that one may do, and what it asks for."""
