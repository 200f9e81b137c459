"""``accelsim explain``: what the words of results mean."""

import click

__all__ = ["explain_command"]


@click.command("explain")
@click.argument("words", nargs=-1, metavar="[WORD]...")
def explain_command(words: tuple[str, ...]) -> None:
    """Say what WORD means, as results and reports use it: drain, split, 'os 2x2x2', '[phase 0,1]'; without one, all.

    What a layer's mapping was chosen over, accelsim schedule --explain LAYER shows.
    """
    from accelsim.cli.screen import console, table_of
    from accelsim.cli.screen import words as column
    from accelsim.results.glossary import GLOSSARY, explained

    shown = dict.fromkeys(item for word in words for item in explained(word)) if words else GLOSSARY
    table = table_of(column("word", whole=True), column("is a", whole=True), column("meaning"))
    for word in shown:
        table.add_row(word.name, word.topic, word.meaning)
    console().print(table)
