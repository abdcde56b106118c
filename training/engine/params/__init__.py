"""The parameters of every kind of attempt, as frozen dataclasses that know their own limits; training.engine.spec reads them."""
