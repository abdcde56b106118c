"""A seeded grammar that writes MediFlow-shaped tasks, judges them and spoils answers, without a model and without a network."""
