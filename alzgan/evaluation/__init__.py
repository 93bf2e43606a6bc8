"""What samples are worth, beside unseen real people.

`inputs` finds what is judged (`candidates`) and the real images (`reference`, with groups of people). Four
questions (`stages`) are answered in files of their own: `fidelity`, in feature `spaces`, `copying`, `shape`
(of the anatomy) and `usefulness`. An answer is made of `numbers` beside what unseen people get, and put in
words by `verdicts`. `run` is what the verb calls; `alzgan.report` makes the page.
"""
