"""The page about one run or several: one HTML file that needs nothing else.

``content`` and ``curves`` collect numbers and texts, ``examples`` chooses signals to listen to, ``sound`` encodes
them, and ``page`` puts all of it together with the scripts and styles of the folders ``page`` and ``vendor``.
"""
