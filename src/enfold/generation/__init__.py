"""Generation: what is chosen after a model's scores, free of any engine."""
