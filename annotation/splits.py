"""Which samples train, which validate, which are kept for the gates: decided once, by hash, at import."""

from hashlib import sha256

# As `annotation.models.Split` stores them: a child process that reads files has no models.
TRAIN, VALIDATION, EVALUATION = "train", "validation", "evaluation"

# Changing the salt or the shares would move samples between splits: a new salt is a new data set.
SALT = "rounds-split-1"
TRAIN_SHARE, VALIDATION_SHARE = 0.70, 0.10  # the rest is evaluation


def key_of(instruction: str, input_text: str) -> str:
    """The split key: rows that differ only in case and white space, or in their outputs, share one and so stay in one split."""
    plain = "\x1f".join(" ".join(text.casefold().split()) for text in (instruction, input_text))
    return sha256(plain.encode()).hexdigest()


def split_of(key: str) -> str:
    """The split of a split key: 70 % train, 10 % validation, 20 % evaluation, the same for ever."""
    share = int.from_bytes(sha256(f"{SALT}:{key}".encode()).digest()[:8], "big") / 2**64
    if share < TRAIN_SHARE:
        return TRAIN
    return VALIDATION if share < TRAIN_SHARE + VALIDATION_SHARE else EVALUATION
