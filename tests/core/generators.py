"""Working off the generators that jobs are made of."""


def run_to_end(generator):
    """What a generator returns, and the events it yields."""
    events = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as end:
            return end.value, events
