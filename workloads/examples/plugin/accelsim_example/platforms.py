"""A platform: the path of its file."""

from pathlib import Path

EXAMPLE_BOARD = Path(__file__).parent / "example_board.yaml"
