"""Synthesis: MediFlow-shaped samples over a grid, and task outputs of documents, as rows that idempotent jobs move."""
