"""Applications by the first part of the path, and what they record for others to see."""

APPLICATIONS = {}
closed = []


def path(function):
    APPLICATIONS[function.__name__] = function
    return function


class Closing:
    """An iterable whose `close` is recorded."""

    def __init__(self, name, pieces, fail_at=None, close_fails=False):
        self.name, self.pieces, self.fail_at, self.close_fails = name, iter(pieces), fail_at, close_fails
        self.count = 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.count == self.fail_at:
            raise RuntimeError("in the middle")
        self.count += 1
        return next(self.pieces)

    def close(self):
        closed.append(self.name)
        if self.close_fails:
            raise RuntimeError("close failed")
