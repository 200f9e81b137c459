"""What a simulation says: steps, training runs, performance, energy and timelines."""
