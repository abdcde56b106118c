"""Where everything in the house came from and what it reached: a typed graph from imported file to promoted model, and back."""
