"""Pages about people, by who uses them: a person's own, the house's records, joining, inviting, managing accounts."""
