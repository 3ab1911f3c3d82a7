"""What deploy/ holds for Kubernetes and Docker, checked without either."""
