"""Evidence that a sceptic can check: the study's verdict, and the pack from which anybody can compute it again."""
