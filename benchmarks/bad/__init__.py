"""What `benchmarks/bad_inputs.py` is made of: bombs, the table's cases, and what hypothesis feeds the readers."""
