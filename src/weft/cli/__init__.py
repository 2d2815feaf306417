"""The `weft` command: it turns what a person types into calls, and answers into tables or JSON.

It decides nothing that a server would decide, says every error in one line on stderr, and ends with a code that a
script can act on (see weft.cli.failure). A command's modules are imported when it runs, so `weft --help` is instant.
"""
