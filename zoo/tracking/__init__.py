"""What a run writes down of its figures as it goes."""
