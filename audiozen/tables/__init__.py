"""Tables with one record per signal: their files, their means, their text. Usable without a trainer."""
