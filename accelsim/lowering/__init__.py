"""From a layer trace to the tasks of one training step."""
