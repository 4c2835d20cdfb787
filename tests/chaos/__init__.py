"""The chaos suite: the whole product under faults, judged by an observer outside.

`make chaos` runs it. `plan` derives from a seed what goes wrong and what is
submitted; `suite` carries it out with real processes; `observer` gathers what
happened; `judge` counts. The suite never believes the product: effects are
counted at the downstream, attempts in a journal of its own.
"""
