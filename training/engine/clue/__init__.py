"""CLUE+ and the medical multiple choice sets of arXiv 2505.10717, asked of a model through lm-evaluation-harness."""
