"""Comparing models on a suite of clinical tasks: the paper's figures, paired comparisons with a parent, and the regression gate."""
