"""From ``Atoms`` to numbers: what a model may be asked, what it answers, and real SCF steps after it."""
