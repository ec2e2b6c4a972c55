"""The command line: one file per command. What costs start-up time is imported inside the commands."""
