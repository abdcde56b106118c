"""The pages of those who train: where the loop stands, generating, launching, watching, comparing; and what came of one's judgements."""
