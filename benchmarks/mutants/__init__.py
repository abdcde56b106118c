"""Ways to get it wrong, kept so that tests can show they would notice."""
