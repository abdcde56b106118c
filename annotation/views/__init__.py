"""The pages of annotation: rating for annotators; samples, campaigns and snapshots for trainers."""
