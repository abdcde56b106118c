"""What people fill in about themselves and each other."""
