"""What samples are worth, beside unseen real people.

`inputs` finds what is judged (`candidates`) and the real images (`reference`). Four `stages` have a file
each: `fidelity`, in feature `spaces`, `copies`, `anatomy` and `utility`. A stage gives `numbers` beside what
unseen people get, and `verdicts` in words. What a metric is stands in its record in `alzgan.metrics`; `own`
finds records of other modules. `methods` says what was done. `run` is what the verb calls, and
`alzgan.report` makes the page.
"""
