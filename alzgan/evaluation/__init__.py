"""An evaluation judges samples beside unseen real people.

The verb calls `run`. `candidates` finds the samples and `reference` the real images. `stages` runs
`fidelity`, `copies`, `anatomy`, `utility` and `reading`, whose readers' `answers` come in files. Each stage
makes `numbers`, each beside that of unseen people, and `verdicts` in words. `alzgan.metrics` has a record of
each metric; `own` finds the user's. `methods` collects the texts on methods, and `alzgan.report` writes the
pages.
"""
