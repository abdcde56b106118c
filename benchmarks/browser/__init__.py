"""What benchmarks and journeys share to drive a real browser."""
